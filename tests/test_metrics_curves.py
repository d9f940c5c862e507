"""Curves and confusion matrices as pictures: what is drawn where, and what must never go wrong."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from metrics import curves, plot
from metrics.curves import COLORS

Row = dict[str, float | str]
SCORES = {"val/mean_iou": 0.5, "val/mean_dice": 0.6, "val/pixel_accuracy": 0.9}
positive = st.floats(1e-3, 1e6)


def row(epoch: int, loss: float | str = 1.0, **changes: float | str) -> Row:
    losses = dict.fromkeys(("loss/train", "loss/val", "cross_entropy/val"), loss)
    return {"epoch": epoch, **losses, **SCORES, **changes}


def write_run(folder: Path, rows: list[Row], best: int | None = None) -> Path:
    folder.mkdir()
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]))
        writer.writeheader()
        writer.writerows(rows)
    if best:
        (folder / "report.json").write_text(json.dumps({"best_epoch": best}))
    return folder


def where(image: Image.Image, color: str) -> np.ndarray:
    """(H, W) whether a pixel has exactly that colour."""
    return (np.asarray(image) == ImageColor.getrgb(color)).all(axis=2)


@given(st.tuples(st.floats(-1e5, 1e5), positive))
def test_ticks_are_round_evenly_apart_and_hold_all_values(numbers: tuple[float, float]) -> None:
    low, high = numbers[0], numbers[0] + numbers[1]
    ticks = plot.round_ticks(low, high)
    step = ticks[1] - ticks[0]
    assert ticks[0] <= low + 1e-6 * step and high - 1e-6 * step <= ticks[-1]
    assert 2 <= len(ticks) <= 9
    assert np.allclose(np.diff(ticks), step)
    digits = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(digits - round_one) for round_one in (1, 2, 5)) < 1e-6


def test_a_line_goes_through_its_values_and_stops_at_what_is_no_number(tmp_path: Path) -> None:
    values = [0.0, 1.0, math.nan, 1.0, 0.0]  # of mean IoU: 0 is at the bottom, 1 at the top
    rows = [row(epoch, **{"val/mean_iou": value}) for epoch, value in enumerate(values, 1)]
    drawn = where(curves.draw_run("run", rows, 1), COLORS[0])[curves.TOP + curves.NEXT - 10 :]
    width = (curves.RIGHT - curves.LEFT - 28) / 4
    x_of = [round(curves.LEFT + 14 + width * epoch) for epoch in range(5)]
    low, high = curves.HEIGHT + 10, 10
    for epoch, y in ((1, high), (3, high), (4, low)):
        assert drawn[y - 3 : y + 4, x_of[epoch] - 3 : x_of[epoch] + 4].any()
    assert not drawn[:, x_of[1] + 8 : x_of[3] - 7].any()
    middle = (x_of[0] + x_of[1]) // 2
    assert drawn[(low + high) // 2 - 4 : (low + high) // 2 + 5, middle - 2 : middle + 3].any()


@pytest.mark.parametrize("epochs", [1, 2, 60, 1000])
def test_a_run_of_any_length_has_curves_with_its_best_epoch(tmp_path: Path, epochs: int) -> None:
    best = max(1, epochs // 2)
    rows = [row(e, 3 / e, **{"val/mean_iou": 0.1}) for e in range(1, epochs + 1)]
    run = write_run(tmp_path / "run", rows, best)
    assert curves.main([str(run)]) == 0
    image = Image.open(run / "curves.png")
    assert image.size[0] == 1200
    for color in COLORS[:3]:
        assert where(image, color).sum() > 100
    upright = where(image, curves.MARK).sum(axis=0).argmax()  # the line at the best epoch
    span = curves.RIGHT - curves.LEFT - 28
    place = (best - 1) / (epochs - 1) if epochs > 1 else 0.5
    assert abs(upright - (curves.LEFT + 14 + place * span)) <= 2


@pytest.mark.parametrize("text", ["nan", "inf", "", "1e300", "0", "-1"])
def test_strange_numbers_are_drawn_too(tmp_path: Path, text: str) -> None:
    names = ("val/mean_iou", "val/mean_dice", "val/pixel_accuracy")
    rows = [row(1, text, **dict.fromkeys(names, text)), row(2), row(3, text)]
    assert curves.main([str(write_run(tmp_path / "some", rows))]) == 0
    assert curves.main([str(write_run(tmp_path / "all", rows[:1]))]) == 0


def test_several_runs_are_compared_in_one_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        str(write_run(tmp_path / f"run{n}", [row(e, 1 / e + n / 9) for e in range(1, 9 + n)]))
        for n in range(9)
    ]
    output = tmp_path / "all.png"
    assert curves.main([*runs[:8], "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    assert all(where(Image.open(output), color).sum() > 50 for color in COLORS)
    for arguments, told in (
        (runs[:2], "--output is missing"),
        (runs, "got 9 runs, expected 8 at most"),
    ):
        with pytest.raises(SystemExit, match="2"):
            curves.main(arguments)
        assert told in capsys.readouterr().err
    assert curves.main([str(tmp_path)]) == 2
    assert f"{tmp_path}: no metrics.csv with an epoch" in capsys.readouterr().err
    assert not (tmp_path / "curves.png").exists()
