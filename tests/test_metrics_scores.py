"""The confusion matrix and its scores, against loops and cases counted by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metrics import scores
from metrics.confusion_matrix import ConfusionMatrix, confusion_matrix

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
    assert torch.equal(left.counts + right.counts, whole.counts)


def test_rows_are_the_truth_and_columns_the_prediction() -> None:
    counts = confusion_matrix(torch.tensor([[2, 2]]), torch.tensor([[2, 0]]), 3, IGNORE)
    assert counts.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 1]]


def test_four_pixels_by_hand() -> None:
    # truth 0 0 1 1, prediction 0 1 1 1: label 0 has IoU 1/2, label 1 2/3, label 2 nothing.
    counts = confusion_matrix(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), 3, IGNORE)
    assert scores.iou(counts).tolist() == pytest.approx([1 / 2, 2 / 3, math.nan], nan_ok=True)
    assert scores.numbers(counts) == {
        "mean_iou": pytest.approx((1 / 2 + 2 / 3) / 2),
        "mean_iou_without_background": pytest.approx(2 / 3),
        "mean_dice": pytest.approx((2 / 3 + 4 / 5) / 2),
        "pixel_accuracy": pytest.approx(3 / 4),
    }
    assert scores.numbers_of_image(counts) == {
        name: scores.numbers(counts)[name] for name in ("mean_iou", "pixel_accuracy")
    }


def test_a_label_predicted_but_not_in_the_truth_has_iou_zero_and_no_accuracy() -> None:
    counts = confusion_matrix(torch.tensor([0, 0]), torch.tensor([0, 1]), 2, IGNORE)
    assert float(scores.iou(counts)[1]) == 0
    assert scores.accuracy_per_label(counts)[1].isnan()


@pytest.mark.parametrize(
    ("label_map", "prediction", "message"),
    [
        ([4, 4], [0, 0], "^2 pixels have a label, true or predicted, that is not one of 0 to 3,"),
        ([0, -1], [0, 0], "^1 pixels have a label"),
        ([0, 1], [0, 4], "^1 pixels have a label"),
        ([0, 1], [-1, 0], "^1 pixels have a label"),
        ([0, 1], [0], "expected the same"),
    ],
)
def test_a_label_out_of_range_is_an_error(
    label_map: list[int], prediction: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(torch.tensor(label_map), torch.tensor(prediction), C, IGNORE)


def test_a_label_out_of_range_in_any_batch_is_told_when_the_counts_are_read() -> None:
    whole = ConfusionMatrix(C, IGNORE)
    for label in (0, 9, 1):
        whole.update(torch.tensor([label]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"^1 pixels have a label, .* not one of 0 to 3"):
        _ = whole.counts


def test_adding_a_batch_asks_for_no_value_that_a_device_would_have_to_finish() -> None:
    label_map = torch.empty(2, 3, dtype=torch.uint8, device="meta")  # has no values
    confusion = ConfusionMatrix(C, IGNORE, "meta")
    confusion.update(label_map, label_map)
    with pytest.raises(RuntimeError, match="meta"):
        _ = confusion.counts


def test_counts_that_were_read_do_not_change_with_the_next_batch() -> None:
    confusion, zero = ConfusionMatrix(C, IGNORE), torch.tensor([0])
    before = confusion.counts
    confusion.update(zero, zero)
    assert before.sum() == 0 and confusion.counts.sum() == 1


def test_epochs_are_compared_by_a_number_of_the_epoch_the_loss_or_the_iou_of_a_label() -> None:
    names = ["background", "cat", "loss"]
    row = {"val/mean_iou": 0.5, "val/pixel_accuracy": 0.9, "loss/val": 2.0, "val_iou/cat": math.nan}
    for metric, merit in (
        ("mean_iou", 0.5),
        ("pixel_accuracy", 0.9),
        ("loss", -2.0),  # the less, the better; and not the label of that name
        ("cat", -math.inf),
    ):
        assert scores.merit(row, scores.column_of(metric, names)) == merit
    counts = torch.eye(3, dtype=torch.int64)
    for key in scores.numbers(counts):
        assert scores.column_of(key, names) == f"val/{key}"
    with pytest.raises(ValueError, match=r"--select dog: expected .*: background, cat, loss, me"):
        scores.column_of("dog", names)
    with pytest.raises(ValueError, match="--select mean_iou_without_background"):
        scores.column_of("mean_iou_without_background", names, background=False)
