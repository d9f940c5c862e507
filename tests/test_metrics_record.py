"""What the numbers of epochs say together."""

from __future__ import annotations

from typing import Any

import pytest

from metrics.record import epoch_lines, remarks_on

Row = dict[str, float]


def rows(*losses: tuple[float, float]) -> list[Row]:
    """Epochs of such cross-entropies on training and on validation images."""
    return [
        {"epoch": epoch, "cross_entropy/train": train, "cross_entropy/val": val, "data_wait": 0.1}
        for epoch, (train, val) in enumerate(losses, 1)
    ]


OVERFITTING = rows((1.0, 1.2), (0.8, 1.0), (0.7, 1.1), (0.6, 1.2), (0.5, 1.3), (0.4, 1.4))


def remarks(history: list[Row]) -> list[int]:
    """The epochs that call for a remark."""
    return [n for n in range(1, len(history) + 1) if remarks_on(history[:n])]


def test_overfitting_is_said_once_when_the_gap_opens() -> None:
    assert remarks(OVERFITTING) == [5]  # three epochs after the lowest
    (remark,) = remarks_on(OVERFITTING[:5])
    assert "since epoch 2" in remark
    assert "(1.000 -> 1.300)" in remark


def test_rows_read_back_from_metrics_csv_say_the_same() -> None:
    text = [{name: str(value) for name, value in row.items()} for row in OVERFITTING]
    assert remarks_on(text[:4] + OVERFITTING[4:5])  # type: ignore[operator]
    assert not remarks_on(text[:5] + OVERFITTING[5:])  # type: ignore[operator]


@pytest.mark.parametrize(
    "history",
    [
        rows(*[(1 / n, 2 / n) for n in range(1, 9)]),  # both fall
        rows(*[(1 / n, 1 + 0.001 * n) for n in range(1, 9)]),  # no rise to speak of
        rows(*[(1 + n, 1 + n) for n in range(1, 9)]),  # both rise: it diverges
    ],
)
def test_other_histories_are_no_overfitting(history: list[Row]) -> None:
    assert remarks(history) == []


def test_an_epoch_is_told_with_its_wait_for_data_and_what_it_is_the_best_by() -> None:
    names = ("loss/train", "loss/val", "val/mean_iou", "train/mean_iou", "val/pixel_accuracy")
    row: Row = {**dict.fromkeys(names, 0.5), "epoch": 3, "images_per_second": 10, "data_wait": 0.4}
    first, second = epoch_lines(row, 8, "loss")
    assert first.startswith("epoch 3/8  loss 0.5000, validation 0.5000  mIoU 50.0%")
    assert first.endswith("(best loss)")
    assert "best" not in epoch_lines(row, 8, "")[0]
    assert "40% of the time waiting for data" in second


def test_waiting_for_data_has_a_cure_which_is_said_once() -> None:
    waits: list[Any] = [0.1, "0.3", 0.1, 0.4]  # text where it was read from metrics.csv
    history = [{**row, "data_wait": wait} for row, wait in zip(rows(*[(1, 1)] * 4), waits)]  # noqa: B905
    assert remarks(history) == [2]
    assert "raise --workers" in remarks_on(history[:2])[0]
