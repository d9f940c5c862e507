"""Scores as pure functions of a confusion matrix.

Every function takes counts (C, C), int64, counts[true, predicted], and gives float64 in 0..1. A
score that has nothing to judge is NaN, and means leave it out: a label that neither truth nor
prediction contains is neither a success nor a failure.
"""

from __future__ import annotations

import torch
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


def pixel_accuracy(counts: Tensor) -> float:
    """Share of all pixels whose label was found; NaN if there is no pixel."""
    overlap, truth, _ = _sizes(counts)
    return float(overlap.sum() / truth.sum())


def mean_score(per_label: Tensor, *, with_background: bool = True) -> float:
    """Mean over the labels that have a score.

    Args:
        per_label: (C,) scores, NaN where there is none.
        with_background: count label 0 too.
    """
    return float(per_label[0 if with_background else 1 :].nanmean())


def mean_iou(counts: Tensor, *, with_background: bool = True) -> float:
    """Mean IoU over the labels that truth or prediction contains; NaN if there is none."""
    return mean_score(iou(counts), with_background=with_background)


def mean_dice(counts: Tensor, *, with_background: bool = True) -> float:
    """Mean Dice over the labels that truth or prediction contains; NaN if there is none."""
    return mean_score(dice(counts), with_background=with_background)


def absent_labels(counts: Tensor) -> list[int]:
    """Labels in neither truth nor prediction, which have no score and are in no mean."""
    _, truth, predicted = _sizes(counts)
    absent: list[int] = (truth + predicted == 0).nonzero().flatten().tolist()
    return absent


def background_everywhere(counts: Tensor) -> Tensor:
    """The counts of predicting label 0 at every pixel of the same truth: what is had for nothing.

    Returns:
        (C, C) int64 counts[true, predicted].
    """
    baseline = torch.zeros_like(counts)
    baseline[:, 0] = counts.sum(dim=1)
    return baseline


def _sizes(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of each label: in both truth and prediction, in the truth, in the prediction."""
    exact = counts.double()
    return exact.diagonal(), exact.sum(dim=1), exact.sum(dim=0)
