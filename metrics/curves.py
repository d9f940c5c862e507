"""The curves of training runs as a picture, from their metrics.csv.

python3 -m metrics.curves runs/A                            # runs/A/curves.png
python3 -m metrics.curves runs/A runs/B --output both.png   # compares them
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from metrics.plot import GRAY, GRID, Canvas, Point, round_ticks, shortened
from metrics.scores import SCORES, title_of
from runtime.command_line import CommandParser, run_command
from runtime.files import replacing
from runtime.run_folder import RunFolder

# Can be told apart with any kind of colour vision (Okabe, Ito 2008).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
MARK = "#aaaaaa"
LEFT, RIGHT, TOP, HEIGHT, NEXT = 84, 920, 120, 400, 510  # pixels: axes, and from one to the next

Rows = Sequence[Mapping[str, Any]]


class Line(NamedTuple):
    """Values by epoch, the best of which has a ring; what is not finite leaves a gap."""

    name: str
    points: list[Point]
    best: int


def line_of(name: str, rows: Rows, column: str, best: int) -> Line:
    """A column of metrics.csv; rows of earlier versions may lack it."""
    values = ("nan" if row.get(column, "") == "" else row[column] for row in rows)
    epochs = (int(row["epoch"]) for row in rows)
    return Line(name, list(zip(epochs, map(float, values), strict=True)), best)


def draw_run(title: str, rows: Rows, best: int, by: str = "mean_iou") -> Image.Image:
    """Loss of training and validation, and the scores of SCORES on validation images."""
    keys = [f"mean_{name}" if row.of_labels else name for name, row in SCORES.items()]
    known = [key for key in keys if f"val/{key}" in rows[-1]]
    panels = {
        "loss": [
            line_of("validation", rows, "loss/val", best),
            line_of("training", rows, "loss/train", best),
        ],
        "scores on validation images": [
            line_of(title_of(key), rows, f"val/{key}", best) for key in known
        ],
    }
    return _figure(title, f"the best epoch by {by} is {best}" if best else "", panels)


def draw_runs(runs: Mapping[str, tuple[Rows, int, str]]) -> Image.Image:
    """Several runs by name, each with its best epoch: plain cross-entropy, and mean IoU."""
    panels = {
        title: [line_of(name, rows, column, best) for name, (rows, best, _) in runs.items()]
        for title, column in (("cross-entropy", "cross_entropy/val"), ("mean IoU", "val/mean_iou"))
    }
    return _figure(f"{len(runs)} runs on their validation images", "rings: best epochs", panels)


def _figure(title: str, remark: str, panels: Mapping[str, Sequence[Line]]) -> Image.Image:
    canvas = Canvas(1200, TOP + NEXT + HEIGHT + 80)
    canvas.text((LEFT, 36), shortened(title, 26, 800), 26)
    canvas.text((1176, 38), remark, 18, GRAY, "r")
    lines_of_all = (line for lines in panels.values() for line in lines)
    epochs = int(max(line.points[-1][0] for line in lines_of_all))
    for number, (name, lines) in enumerate(panels.items()):
        _draw_panel(canvas, TOP + number * NEXT, name, lines, epochs, percent=number == 1)
    return canvas.image()


def _draw_panel(
    canvas: Canvas, top: float, title: str, lines: Sequence[Line], epochs: int, *, percent: bool
) -> None:
    """Axes below ``top``, and the legend beside them; in percent from 0, or as it comes."""
    values = [v for line in lines for _, v in line.points if math.isfinite(v)] or [0.0]
    ticks = round_ticks(0 if percent else min(values), max(values))
    bottom = top + HEIGHT

    def place(epoch: float, value: float) -> Point:
        share = (epoch - 1) / (epochs - 1) if epochs > 1 else 0.5
        height = HEIGHT * (value - ticks[0]) / (ticks[-1] - ticks[0])
        return LEFT + 14 + share * (RIGHT - LEFT - 28), bottom - height

    canvas.text((LEFT, top - 26), title, 20)
    for tick in ticks:
        _, y = place(1, tick)
        canvas.line([(LEFT, y), (RIGHT, y)], GRID, 1)
        canvas.text((LEFT - 10, y), f"{100 * tick:g}%" if percent else f"{tick:.6g}", 16, GRAY, "r")
    whole = {int(tick) for tick in round_ticks(0, epochs, 10) if tick == int(tick)}
    for epoch in sorted({1} | {n for n in whole if epochs // 25 < n <= epochs and n}):
        x, _ = place(epoch, ticks[0])
        canvas.line([(x, bottom), (x, bottom + 6)], GRAY, 1)
        canvas.text((x, bottom + 20), f"{epoch:,}", 16, GRAY, "m")
    canvas.line([(LEFT, bottom), (RIGHT, bottom)], GRAY, 1)
    canvas.text((RIGHT, bottom + 44), "epoch", 16, GRAY, "r")
    if lines[0].best and len({line.best for line in lines}) == 1:
        x, _ = place(lines[0].best, ticks[0])
        canvas.line([(x, top), (x, bottom)], MARK, 1.5)
    for number, (line, color) in enumerate(zip(lines, COLORS, strict=False)):
        for known, points in groupby(line.points, lambda point: math.isfinite(point[1])):
            if not known:
                continue
            places = [place(*point) for point in points]
            canvas.line(places, color, 2.5 if epochs <= 200 else 1.5)
            for each in places if epochs <= 30 or len(places) == 1 else ():
                canvas.dot(each, 3.5, color, color)
        value, note = dict(line.points).get(line.best, math.nan), ""
        if math.isfinite(value):
            canvas.dot(place(line.best, value), 6, "white", color)
            note = f"{value:.1%} in epoch" if percent else f"{value:.4g} in epoch"
            note += f" {line.best}"
        y = top + 12 + 50 * number
        canvas.line([(RIGHT + 30, y), (RIGHT + 58, y)], color, 3.5)
        canvas.text((RIGHT + 68, y), shortened(line.name, 16, 200), 16)
        canvas.text((RIGHT + 68, y + 20), note, 14, GRAY)


def read_run(path: Path) -> tuple[Rows, int, str]:
    """The rows of metrics.csv; the best epoch, 0 if no report.json knows it, and its metric.

    Raises:
        ValueError: there are no rows, or they are damaged.
    """
    folder = RunFolder(path)
    folder.keep_rows(folder.last_epoch())
    if not folder.rows:
        raise ValueError(f"{path}: no metrics.csv with an epoch; give the folder of a run")
    if not folder.report.is_file():
        return folder.rows, 0, ""
    report = json.loads(folder.report.read_text(encoding="utf-8"))
    return folder.rows, int(report["best_epoch"]), report.get("best_by", "mean_iou")


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser("metrics.curves", __doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    text = "the picture; RUN/curves.png if not given, where there is one run"
    parser.add_argument("--output", type=Path, metavar="FILE.png", help=text)
    args = parser.parse_args(argv)
    if len(args.runs) > len(COLORS):
        parser.error(f"got {len(args.runs)} runs, expected {len(COLORS)} at most, a colour each")
    if len(args.runs) > 1 and not args.output:
        parser.error("--output is missing: expected the file for the picture of several runs")
    output = args.output or RunFolder(args.runs[0]).curves

    def draw() -> int:
        runs = {str(path): read_run(path) for path in args.runs}
        (name, one), *others = runs.items()
        with replacing(output) as temporary:
            (draw_runs(runs) if others else draw_run(name, *one)).save(temporary, "PNG")
        print(output)
        return 0

    return run_command(parser.prog, draw)


if __name__ == "__main__":
    raise SystemExit(main())
