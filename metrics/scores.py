"""Scores as functions of a confusion matrix, the table of those that are reported, and reports.

Every function takes counts (C, C), int64, counts[true, predicted], and gives float64 in 0..1. A
score that has nothing to judge is NaN, and means leave it out: a label that neither truth nor
prediction contains is neither a success nor a failure.

This file loads no torch, so that a command can list SCORES at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

LOSS = "loss/val"  # the column of the validation loss


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


def _sizes(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of each label: in both truth and prediction, in the truth, in the prediction."""
    exact = counts.double()
    return exact.diagonal(), exact.sum(dim=1), exact.sum(dim=0)


@dataclass(frozen=True)
class Score:
    """A row of SCORES.

    Attributes:
        title: for people.
        function: counts -> (C,), a score of each label, or (), one of all pixels.
        of_labels: whether it is the former; reports then have its means too.
        means: which of them an epoch has: with background (label 0), True, without it, False.
        by_image: whether scores.csv, and what background everywhere would have, has it.
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
    """What an epoch is known by: mean_iou, mean_iou_without_background, ..., pixel_accuracy."""
    return {
        key: float(row.function(counts).flatten()[first:].nanmean())
        for key, row, first in _numbers(background)
    }


def _numbers(background: bool) -> Iterator[tuple[str, Score, int]]:
    """Each of ``numbers``: its key, its row, and the first label of its mean."""
    for name, row in SCORES.items():
        if not row.of_labels:
            yield name, row, 0
        if True in row.means:
            yield f"mean_{name}", row, 0
        if False in row.means and background:
            yield f"mean_{name}_without_background", row, 1


def column_of(metric: str, names: Sequence[str], *, background: bool = True) -> str:
    """The column of metrics.csv by which epochs are compared.

    ``metric`` is "loss", of which less is better; a key of ``numbers``; or a label, for its IoU.

    Raises:
        ValueError: there is no such metric.
    """
    columns = {name: f"val_iou/{name}" for name in names}
    columns |= {key: f"val/{key}" for key, *_ in _numbers(background)} | {"loss": LOSS}
    if metric not in columns:
        raise ValueError(f"--select {metric}: expected a label or a number: {', '.join(columns)}")
    return columns[metric]


def merit(row: Mapping[str, float], column: str) -> float:
    """How good an epoch is by a column, the more the better; what is no number is the worst."""
    value = -row[column] if column == LOSS else row[column]
    return -math.inf if math.isnan(value) else value


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


def report_dict(counts: Tensor, names: Sequence[str], *, background: bool = True) -> dict[str, Any]:
    """Every score, as plain types that JSON has.

    Args:
        counts: (C, C) int64 counts[true, predicted].
        names: of the C labels.
        background: whether label 0 is the background; else what is said of it is left out.

    Returns:
        Scores in 0..1, None where there is nothing to judge:

            labels                   for each label: name, the scores that labels have (iou, dice,
                                     accuracy), and its pixels in the truth (true_pixels) and the
                                     prediction (predicted_pixels)
            mean                     of the same scores, over the labels that have each
            mean_without_background  the same without label 0
            pixel_accuracy           share of all pixels
            background_everywhere    mean_iou and pixel_accuracy of predicting label 0 everywhere
            absent                   names of labels in neither truth nor prediction: in no mean
            confusion                rows of counts, [true][predicted]
    """
    per_label = scores_of_labels(counts)
    columns = {score: values.tolist() for score, values in per_label.items()}
    true, predicted = counts.sum(dim=1).tolist(), counts.sum(dim=0).tolist()
    labels = [
        {
            "name": name,
            **_known({score: values[label] for score, values in columns.items()}),
            "true_pixels": true[label],
            "predicted_pixels": predicted[label],
        }
        for label, name in enumerate(names)
    ]
    of_all = {s: float(row.function(counts)) for s, row in SCORES.items() if not row.of_labels}
    report: dict[str, Any] = {"labels": labels, "mean": _means(per_label)}
    if background:
        of_others = {score: values[1:] for score, values in per_label.items()}
        report["mean_without_background"] = _means(of_others)
    report |= _known(of_all)
    if background:
        report["background_everywhere"] = _known(numbers_of_image(background_everywhere(counts)))
    pixels = zip(names, true, predicted, strict=True)
    report["absent"] = [name for name, *numbers in pixels if not any(numbers)]
    return {**report, "confusion": counts.tolist()}


def score_table(counts: Tensor, names: Sequence[str], *, background: bool = True) -> str:
    """``report_dict`` in percent, a line a label; ``-`` for a score that has nothing to judge."""
    report = report_dict(counts, names, background=background)
    without = f"mean without {names[0]}"
    width = max(len(name) for name in (*names, without))
    columns = {score: max(8, len(row.title) + 2) for score, row in SCORES.items() if row.of_labels}
    total = int(counts.sum())

    def line(name: str, values: Mapping[str, float | None]) -> str:
        cells = (f"{_percent(values[score]):>{size}}" for score, size in columns.items())
        return f"{name:<{width}}{''.join(cells)}"

    titles = (f"{SCORES[score].title:>{size}}" for score, size in columns.items())
    lines = [f"{'label':<{width}}{''.join(titles)}{'pixels':>9}"]
    for label in report["labels"]:
        share = label["true_pixels"] / total if total else None
        lines.append(f"{line(label['name'], label)}{_percent(share):>9}")
    lines.append(line("mean", report["mean"]))
    if background:
        lines.append(line(without, report["mean_without_background"]))
    for score, row in SCORES.items():
        if not row.of_labels:
            lines.append(f"{row.title:<{width}}{_percent(report[score]):>{sum(columns.values())}}")
    if background:
        baseline = report["background_everywhere"]
        told = (f"{title_of(name)} {_percent(value)}" for name, value in baseline.items())
        lines.append(f"{names[0]} everywhere would have: {', '.join(told)}")
    if report["absent"]:
        absent = ", ".join(report["absent"])
        lines.append(f"in neither truth nor prediction, so in no mean: {absent}")
    return "\n".join(lines)


def image_row(counts: Tensor, names: Sequence[str]) -> dict[str, float | None]:
    """The scores of one image by their column in scores.csv; None where nothing is to judge."""
    found = numbers_of_image(counts)
    for score, per_label in scores_of_labels(counts).items():
        if SCORES[score].by_image:
            columns = (f"{score}/{name}" for name in names)
            found |= dict(zip(columns, per_label.tolist(), strict=True))
    return _known(found)


def _means(per_label: Mapping[str, Tensor]) -> dict[str, float | None]:
    return _known({score: float(values.nanmean()) for score, values in per_label.items()})


def _known(found: Mapping[str, float]) -> dict[str, float | None]:
    """The same for JSON, which has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in found.items()}


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"
