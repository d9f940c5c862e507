"""The scores of a confusion matrix, for programs and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from metrics.scores import (
    SCORES,
    absent_labels,
    background_everywhere,
    mean_score,
    numbers_of_image,
    scores_of_labels,
    title_of,
)

OF_BACKGROUND = ("mean_without_background", "background_everywhere")


def report_dict(counts: Tensor, names: Sequence[str], *, background: bool = True) -> dict[str, Any]:
    """Every score, as plain types that JSON has.

    Args:
        counts: (C, C) int64 counts[true, predicted].
        names: of the C labels.
        background: whether label 0 is the background; else OF_BACKGROUND is left out.

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
    columns = {
        "name": list(names),
        **{score: [_or_none(value) for value in v.tolist()] for score, v in per_label.items()},
        "true_pixels": counts.sum(dim=1).tolist(),
        "predicted_pixels": counts.sum(dim=0).tolist(),
    }
    of_all = {score: row.function(counts) for score, row in SCORES.items() if not row.of_labels}
    baseline = numbers_of_image(background_everywhere(counts))
    report = {
        "labels": [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ],
        "mean": _means(per_label, with_background=True),
        "mean_without_background": _means(per_label, with_background=False),
        **{score: _or_none(float(value)) for score, value in of_all.items()},
        "background_everywhere": {name: _or_none(value) for name, value in baseline.items()},
        "absent": [names[label] for label in absent_labels(counts)],
        "confusion": counts.tolist(),
    }
    return {key: value for key, value in report.items() if background or key not in OF_BACKGROUND}


def score_table(counts: Tensor, names: Sequence[str], *, background: bool = True) -> str:
    """One line a label, then the means and the pixel accuracy, in percent.

    Takes what ``report_dict`` does. Lines of text without a final newline; ``-`` stands for a score
    that has nothing to judge: such labels are left out of the means and named below the table.
    """
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
    of_labels = {
        f"{score}/{name}": value
        for score, per_label in scores_of_labels(counts).items()
        if SCORES[score].by_image
        for name, value in zip(names, per_label.tolist(), strict=True)
    }
    found = {**numbers_of_image(counts), **of_labels}
    return {name: _or_none(value) for name, value in found.items()}


def _means(per_label: dict[str, Tensor], *, with_background: bool) -> dict[str, float | None]:
    return {
        score: _or_none(mean_score(values, with_background=with_background))
        for score, values in per_label.items()
    }


def _or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else value


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"
