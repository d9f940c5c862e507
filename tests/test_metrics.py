"""The confusion matrix and its scores, against loops and cases counted by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from metrics import scores
from metrics.confusion_matrix import ConfusionMatrix, confusion_matrix
from metrics.evaluation import evaluate
from metrics.report import score_table

IGNORE = 255
C = 4
pixels = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 3, IGNORE]), st.integers(0, C - 1)), max_size=60
)


def slow_matrix(pairs: list[tuple[int, int]]) -> list[list[int]]:
    counts = [[0] * C for _ in range(C)]
    for true, predicted in pairs:
        if true != IGNORE:
            counts[true][predicted] += 1
    return counts


def tensors(pairs: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    true, predicted = zip(*pairs, strict=True) if pairs else ((), ())
    return torch.tensor(true, dtype=torch.uint8), torch.tensor(predicted, dtype=torch.int64)


@settings(deadline=None)
@given(pixels)
def test_confusion_matrix_equals_a_loop_over_pixels(pairs: list[tuple[int, int]]) -> None:
    counts = confusion_matrix(*tensors(pairs), C, IGNORE)
    assert counts.dtype == torch.int64
    assert counts.tolist() == slow_matrix(pairs)


@settings(deadline=None)
@given(pixels)
def test_scores_equal_sets_of_pixels(pairs: list[tuple[int, int]]) -> None:
    counts = confusion_matrix(*tensors(pairs), C, IGNORE)
    kept = [(true, predicted) for true, predicted in pairs if true != IGNORE]
    for label in range(C):
        truth = {i for i, (true, _) in enumerate(kept) if true == label}
        found = {i for i, (_, predicted) in enumerate(kept) if predicted == label}
        both, either = len(truth & found), len(truth | found)
        nan = math.nan
        assert same(scores.iou(counts)[label], both / either if either else nan)
        size = len(truth) + len(found)
        assert same(scores.dice(counts)[label], 2 * both / size if size else nan)
        recall = both / len(truth) if truth else nan
        assert same(scores.accuracy_per_label(counts)[label], recall)
    right = sum(true == predicted for true, predicted in kept)
    assert same(scores.pixel_accuracy(counts), right / len(kept) if kept else math.nan)


def same(value: Tensor | float, expected: float) -> bool:
    return math.isnan(value) if math.isnan(expected) else float(value) == pytest.approx(expected)


@settings(deadline=None)
@given(pixels, st.integers(0, 60))
def test_the_matrix_of_a_whole_is_the_sum_of_its_parts(
    pairs: list[tuple[int, int]], cut: int
) -> None:
    whole, left, right = (ConfusionMatrix(C, IGNORE) for _ in range(3))
    whole.update(*tensors(pairs))
    left.update(*tensors(pairs[:cut]))
    right.update(*tensors(pairs[cut:]))
    left.merge(right)
    assert torch.equal(left.counts, whole.counts)


def test_rows_are_the_truth_and_columns_the_prediction() -> None:
    counts = confusion_matrix(torch.tensor([[2, 2]]), torch.tensor([[2, 0]]), 3, IGNORE)
    assert counts.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 1]]


def test_four_pixels_by_hand() -> None:
    # truth 0 0 1 1, prediction 0 1 1 1: label 0 has IoU 1/2, label 1 2/3, label 2 nothing.
    counts = confusion_matrix(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), 3, IGNORE)
    assert scores.iou(counts).tolist() == pytest.approx([1 / 2, 2 / 3, math.nan], nan_ok=True)
    assert scores.mean_iou(counts) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores.mean_iou(counts, with_background=False) == pytest.approx(2 / 3)
    assert scores.mean_dice(counts) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores.mean_dice(counts, with_background=False) == pytest.approx(4 / 5)
    assert scores.pixel_accuracy(counts) == pytest.approx(3 / 4)


def test_a_label_predicted_but_not_in_the_truth_has_iou_zero_and_no_accuracy() -> None:
    counts = confusion_matrix(torch.tensor([0, 0]), torch.tensor([0, 1]), 2, IGNORE)
    assert float(scores.iou(counts)[1]) == 0
    assert scores.accuracy_per_label(counts)[1].isnan()


@pytest.mark.parametrize(
    ("label_map", "prediction", "message"),
    [
        ([0, 4], [0, 0], "label map has labels 0 to 4"),
        ([0, -1], [0, 0], "label map has labels -1 to 0"),
        ([0, 1], [0, 4], "prediction has labels 0 to 4"),
        ([0, 1], [0], "expected the same"),
    ],
)
def test_a_label_out_of_range_is_an_error(
    label_map: list[int], prediction: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(torch.tensor(label_map), torch.tensor(prediction), C, IGNORE)


class Table(nn.Module):
    """Gives image i of the batch the logits that its first pixel's number says."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits
        self.modes: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        return self.logits[images[:, 0, 0, 0].long()]


def test_evaluation_weighs_images_the_same_and_counts_every_pixel_once() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, C, 2, 2, generator=generator)
    label_maps = torch.randint(0, C, (3, 2, 2), generator=generator).to(torch.uint8)
    label_maps[0, 0, 0] = IGNORE
    images = torch.arange(3).view(3, 1, 1, 1).expand(3, 3, 2, 2)

    def first_logit(scores: Tensor, label_map: Tensor) -> Tensor:
        assert label_map.dtype == torch.int64
        return scores[:, 0, 0, 0].mean()

    model = Table(logits).train()
    batches = [(images[:2], label_maps[:2]), (images[2:], label_maps[2:])]
    result = evaluate(model, batches, first_logit, torch.device("cpu"), C, IGNORE)

    pairs = zip(label_maps.flatten().tolist(), logits.argmax(1).flatten().tolist(), strict=True)
    assert result.counts.tolist() == slow_matrix(list(pairs))
    assert result.loss == pytest.approx(float(logits[:, 0, 0, 0].mean()))
    assert model.modes == [False, False]
    assert model.training


def test_evaluating_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no images"):
        evaluate(nn.Identity(), [], nn.Identity(), torch.device("cpu"), C, IGNORE)


def test_the_table_names_each_label_and_those_that_no_mean_counts() -> None:
    counts = torch.tensor([[90, 10, 0], [0, 0, 0], [0, 0, 0]])
    lines = score_table(counts, ["background", "living", "urban"]).splitlines()
    assert lines[0].split() == ["label", "IoU", "Dice", "accuracy", "pixels"]
    assert lines[1].split() == ["background", "90.0%", "94.7%", "90.0%", "100.0%"]
    assert lines[2].split() == ["living", "0.0%", "0.0%", "-", "0.0%"]
    assert lines[3].split() == ["urban", "-", "-", "-", "0.0%"]
    assert lines[4].split() == ["mean", "45.0%", "47.4%", "90.0%"]
    assert lines[5].split()[-3:] == ["0.0%", "0.0%", "-"]
    assert lines[6].split() == ["pixel", "accuracy", "90.0%"]
    assert lines[7].endswith(": urban")
