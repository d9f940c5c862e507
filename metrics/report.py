"""The scores of a confusion matrix, for programs and for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from metrics import scores

COLUMNS = f"{'IoU':>8}{'Dice':>8}{'accuracy':>10}{'pixels':>9}"


def report_dict(counts: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Every score, as plain types that JSON has.

    Args:
        counts: (C, C) int64 counts[true, predicted].
        names: of the C labels.

    Returns:
        Scores in 0..1, None where there is nothing to judge:

            labels                   for each label: name, iou, dice, accuracy, and its pixels in
                                     the truth (true_pixels) and the prediction (predicted_pixels)
            mean                     iou, dice and accuracy, over the labels that have each
            mean_without_background  the same without label 0
            pixel_accuracy           share of all pixels
            background_everywhere    mean_iou and pixel_accuracy of predicting label 0 everywhere
            absent                   names of labels in neither truth nor prediction: in no mean
            confusion                rows of counts, [true][predicted]
    """
    per_label = {
        "iou": scores.iou(counts),
        "dice": scores.dice(counts),
        "accuracy": scores.accuracy_per_label(counts),
    }
    columns = {
        "name": list(names),
        **{score: [_or_none(value) for value in v.tolist()] for score, v in per_label.items()},
        "true_pixels": counts.sum(dim=1).tolist(),
        "predicted_pixels": counts.sum(dim=0).tolist(),
    }
    baseline = scores.background_everywhere(counts)
    return {
        "labels": [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ],
        "mean": _means(per_label, with_background=True),
        "mean_without_background": _means(per_label, with_background=False),
        "pixel_accuracy": _or_none(scores.pixel_accuracy(counts)),
        "background_everywhere": {
            "mean_iou": _or_none(scores.mean_iou(baseline)),
            "pixel_accuracy": _or_none(scores.pixel_accuracy(baseline)),
        },
        "absent": [names[label] for label in scores.absent_labels(counts)],
        "confusion": counts.tolist(),
    }


def score_table(counts: Tensor, names: Sequence[str]) -> str:
    """One line a label, then the means and the pixel accuracy, in percent.

    Args:
        counts: (C, C) int64 counts[true, predicted].
        names: of the C labels.

    Returns:
        Lines of text without a final newline. ``-`` stands for a score that has nothing to judge;
        such labels are left out of the means and named below the table.
    """
    report = report_dict(counts, names)
    width = max(len(name) for name in (*names, "mean without background"))
    total = int(counts.sum())
    lines = [f"{'label':<{width}}{COLUMNS}"]
    for label in report["labels"]:
        share = label["true_pixels"] / total if total else None
        lines.append(_line(label["name"], width, label, share))
    lines.append(_line("mean", width, report["mean"]))
    lines.append(_line("mean without background", width, report["mean_without_background"]))
    lines.append(f"{'pixel accuracy':<{width}}{'':16}{_percent(report['pixel_accuracy']):>10}")
    baseline = report["background_everywhere"]
    lines.append(
        f"background everywhere would have: mean IoU {_percent(baseline['mean_iou'])}, "
        f"pixel accuracy {_percent(baseline['pixel_accuracy'])}"
    )
    if report["absent"]:
        absent = ", ".join(report["absent"])
        lines.append(f"in neither truth nor prediction, so in no mean: {absent}")
    return "\n".join(lines)


def _means(per_label: dict[str, Tensor], *, with_background: bool) -> dict[str, float | None]:
    return {
        score: _or_none(scores.mean_score(values, with_background=with_background))
        for score, values in per_label.items()
    }


def _line(name: str, width: int, values: dict[str, Any], *share: float | None) -> str:
    shown = (values["iou"], values["dice"], values["accuracy"], *share)
    columns = zip(shown, (8, 8, 10, 9), strict=False)
    return f"{name:<{width}}" + "".join(f"{_percent(value):>{w}}" for value, w in columns)


def _or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else value


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"
