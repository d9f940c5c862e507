"""Resizing to the network's size and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from models.prediction import (
    View,
    decide,
    label_map_from_logits,
    planes_of,
)


@pytest.mark.parametrize("size", [(48, 64), (20, 90), (7, 5), (32, 32)])
def test_resizing_agrees_with_pillow_to_one_level(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    resized = View(32, 32)(torch.from_numpy(pixels).permute(2, 0, 1))
    expected = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR))
    assert (resized.dtype, resized.shape) == (torch.uint8, (3, 32, 32))
    assert np.abs(resized.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1


def test_label_map_is_the_argmax_where_sizes_agree() -> None:
    torch.manual_seed(0)
    logits = torch.randn(200, 5, 7)
    label_map = label_map_from_logits(logits, (5, 7))
    assert label_map.dtype == torch.uint8
    assert np.array_equal(label_map.numpy(), logits.numpy().argmax(0))


def test_an_edge_between_two_labels_lands_where_their_scores_cross() -> None:
    # Scores at the centres of two pixels, +3 and -1, cross at three quarters of the way between
    # the centres; enlarged 8 times the centres lie at 3.5 and 11.5, the crossing at 9.5.
    logits = torch.tensor([[[3.0, -1.0]], [[0.0, 0.0]]])
    assert label_map_from_logits(logits, (1, 16))[0].tolist() == [0] * 10 + [1] * 6


def test_probabilities_and_confidence_are_those_of_softmax() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 9, 11) * 3
    expected = logits.double().softmax(0)
    best, label = expected.max(0)
    for min_confidence in (0.0, 0.3, 0.7, 1.0):
        prediction = decide(
            planes_of(logits, (9, 11)),
            5,
            min_confidence=min_confidence,
            probabilities=torch.float16,
        )
        assert torch.equal(prediction.label_map.long(), label.where(best >= min_confidence, 0))
        assert prediction.probabilities is not None
        assert torch.allclose(prediction.probabilities.double(), expected, atol=1e-3)
    eight_bits = decide(planes_of(logits, (9, 11)), 5, probabilities=torch.uint8).probabilities
    assert eight_bits is not None and eight_bits.dtype == torch.uint8
    assert (eight_bits.double() / 255 - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_huge_logits_do_not_overflow() -> None:
    logits = torch.tensor([1e4, -1e4, 9e3]).view(3, 1, 1)
    prediction = decide(planes_of(logits, (1, 1)), 3, probabilities=torch.uint8)
    assert prediction.probabilities is not None
    assert prediction.probabilities.flatten().tolist() == [255, 0, 0]


def test_labels_are_decided_as_if_all_scores_were_there_at_once() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 20, 16, 16).round(decimals=1)  # with ties
    for size in ((16, 16), (37, 23), (5, 90)):
        enlarged = F.interpolate(logits, size, mode="bilinear", align_corners=False)[0]
        assert torch.equal(
            label_map_from_logits(logits[0], size), enlarged.argmax(0).to(torch.uint8)
        )
