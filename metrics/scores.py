"""Scores as functions of a confusion matrix, and the table of those that are reported.

Every function takes counts (C, C), int64, counts[true, predicted], and gives float64 in 0..1. A
score that has nothing to judge is NaN, and means leave it out: a label that neither truth nor
prediction contains is neither a success nor a failure.

This file loads no torch, so that a command can list SCORES at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def iou(counts: Tensor) -> Tensor:
    """(C,) intersection over union of each label; NaN if in neither truth nor prediction."""
    overlap, truth, predicted = _sizes(counts)
    return overlap / (truth + predicted - overlap)


def dice(counts: Tensor) -> Tensor:
    """(C,) Dice coefficient (F1) of each label; NaN if in neither truth nor prediction."""
    overlap, truth, predicted = _sizes(counts)
    return 2 * overlap / (truth + predicted)


def accuracy_per_label(counts: Tensor) -> Tensor:
    """(C,) share of each label's pixels that were found (recall); NaN if not in the truth."""
    overlap, truth, _ = _sizes(counts)
    return overlap / truth


def pixel_accuracy(counts: Tensor) -> Tensor:
    """() share of all pixels whose label was found; NaN if there is no pixel."""
    overlap, truth, _ = _sizes(counts)
    return overlap.sum() / truth.sum()


@dataclass(frozen=True)
class Score:
    """A row of SCORES.

    Attributes:
        title: for people.
        function: counts -> (C,), a score of each label, or (), one of all pixels.
        of_labels: whether it is the former; reports then have its means too.
        means: those of them that are among the numbers of an epoch: with background (label 0),
            True, and without it, False.
        by_image: whether scores.csv has it for each image. Reports then say, too, what background
            everywhere would have.
    """

    title: str
    function: Callable[[Tensor], Tensor]
    of_labels: bool = True
    means: tuple[bool, ...] = (True, False)
    by_image: bool = True


SCORES: dict[str, Score] = {
    "iou": Score("IoU", iou),
    "dice": Score("Dice", dice, means=(True,), by_image=False),
    "accuracy": Score("accuracy", accuracy_per_label, means=(), by_image=False),
    "pixel_accuracy": Score("pixel accuracy", pixel_accuracy, of_labels=False, means=()),
}


def scores_of_labels(counts: Tensor) -> dict[str, Tensor]:
    """The scores that each label has, (C,), by their keys in SCORES."""
    return {name: row.function(counts) for name, row in SCORES.items() if row.of_labels}


def numbers(counts: Tensor, *, background: bool = True) -> dict[str, float]:
    """What an epoch is known by: mean_iou, mean_iou_without_background, ..., pixel_accuracy.

    A mean is over the labels that have a score. Without a background, none is without it.
    """
    found = {}
    for name, row in SCORES.items():
        values = row.function(counts)
        if not row.of_labels:
            found[name] = float(values)
        if True in row.means:
            found[f"mean_{name}"] = float(values.nanmean())
        if False in row.means and background:
            found[f"mean_{name}_without_background"] = float(values[1:].nanmean())
    return found


def numbers_of_image(counts: Tensor) -> dict[str, float]:
    """What an image is known by: mean_iou and pixel_accuracy."""
    return {
        f"mean_{name}" if row.of_labels else name: float(row.function(counts).nanmean())
        for name, row in SCORES.items()
        if row.by_image
    }


def title_of(number: str) -> str:
    """A key of ``numbers`` for people: mean_iou -> mean IoU."""
    score = number.removeprefix("mean_")
    return SCORES[number].title if number in SCORES else f"mean {SCORES[score].title}"


def background_everywhere(counts: Tensor) -> Tensor:
    """(C, C) int64 counts of predicting label 0 everywhere: what is had for nothing."""
    baseline = counts.new_zeros(counts.shape)
    baseline[:, 0] = counts.sum(dim=1)
    return baseline


def _sizes(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of each label: in both truth and prediction, in the truth, in the prediction."""
    exact = counts.double()
    return exact.diagonal(), exact.sum(dim=1), exact.sum(dim=0)
