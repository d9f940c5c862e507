"""The scores of a confusion matrix as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from metrics import scores

COLUMNS = f"{'IoU':>8}{'Dice':>8}{'accuracy':>10}{'pixels':>9}"


def score_table(counts: Tensor, names: Sequence[str]) -> str:
    """One line a label, then the means and the pixel accuracy, in percent.

    Args:
        counts: (C, C) int64 counts[true, predicted].
        names: of the C labels.

    Returns:
        Lines of text without a final newline. ``-`` stands for a score that has nothing to judge;
        such labels are left out of the means and named below the table.
    """
    width = max(len(name) for name in (*names, "mean without background"))
    iou, dice, accuracy = scores.iou(counts), scores.dice(counts), scores.accuracy_per_label(counts)
    share = counts.sum(dim=1).double() / counts.sum()
    lines = [f"{'label':<{width}}{COLUMNS}"]
    for i, name in enumerate(names):
        lines.append(_line(name, width, iou[i], dice[i], accuracy[i], share[i]))
    for name, with_background in (("mean", True), ("mean without background", False)):
        means = (
            scores.mean_score(per_label, with_background=with_background)
            for per_label in (iou, dice, accuracy)
        )
        lines.append(_line(name, width, *means))
    lines.append(f"{'pixel accuracy':<{width}}{'':16}{_percent(scores.pixel_accuracy(counts)):>10}")
    absent = [name for name, value in zip(names, iou.isnan().tolist(), strict=True) if value]
    if absent:
        lines.append(f"in neither truth nor prediction, so in no mean: {', '.join(absent)}")
    return "\n".join(lines)


def _line(name: str, width: int, *values: float | Tensor) -> str:
    columns = zip(values, (8, 8, 10, 9), strict=False)
    return f"{name:<{width}}" + "".join(f"{_percent(float(v)):>{w}}" for v, w in columns)


def _percent(value: float) -> str:
    return "-" if value != value else f"{100 * value:.1f}%"
