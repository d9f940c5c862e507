"""Resizing to the network's size and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from models.prediction import label_map_from_logits, predict, resize_image


@pytest.mark.parametrize("size", [(48, 64), (20, 90), (7, 5), (32, 32)])
def test_resizing_agrees_with_pillow_to_one_level(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    resized = resize_image(torch.from_numpy(pixels).permute(2, 0, 1), 32)
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


def test_predictions_have_the_sizes_of_their_images() -> None:
    class Brightness(nn.Module):
        """Label 1 where an image is brighter than half."""

        def forward(self, images: Tensor) -> Tensor:
            gray = images.float().mean(1) / 255
            return torch.stack((1 - gray, gray), dim=1)

    wide = torch.zeros(3, 40, 60, dtype=torch.uint8)
    wide[:, :, 30:] = 255
    tall = torch.full((3, 50, 9), 255, dtype=torch.uint8)
    batch = torch.stack([resize_image(image, 16) for image in (wide, tall)])
    first, second = predict(Brightness(), batch, [(40, 60), (50, 9)], torch.device("cpu"))
    assert first.shape == (40, 60)
    assert (first[:, :30] == 0).all()
    assert (first[:, 30:] == 1).all()
    assert second.shape == (50, 9)
    assert (second == 1).all()
