"""Figures with Pillow alone. Places are in pixels, from the upper left corner."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from runtime.files import replacing

logger = logging.getLogger(__name__)

INK, GRAY, GRID = "#222222", "#6b6b6b", "#e6e6e6"

# Of a confusion matrix, from labels so few on: pixels of a cell, height of the numbers in it,
# digits after the point.
CELLS = ((24, 24, 11, 0), (12, 36, 14, 0), (6, 60, 17, 1), (0, 96, 20, 1))
RIGHT, WRONG = (8, 81, 156), (230, 85, 13)  # where a cell has its whole row
NOTHING = (240, 240, 240)  # rows of labels that the truth lacks
DARK = 0.5  # share from which numbers are white

Point = tuple[float, float]


font_of = cache(ImageFont.load_default)  # by the height of its letters, in pixels


class Canvas:
    """A white figure.

    Args:
        width, height: in pixels.
        finer: it is drawn so much larger and reduced, which smooths lines.
    """

    def __init__(self, width: int, height: int, finer: int = 3) -> None:
        self._finer = finer
        self._image = Image.new("RGB", (width * finer, height * finer), "white")
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: Sequence[Point], color: str, width: float) -> None:
        fine = [(x * self._finer, y * self._finer) for x, y in points]
        self._draw.line(fine, color, max(1, round(width * self._finer)), joint="curve")

    def box(self, corner: Point, size: float, color: Any) -> None:
        places = [place * self._finer for place in (*corner, corner[0] + size, corner[1] + size)]
        self._draw.rectangle(places, color, GRID)

    def dot(self, place: Point, radius: float, color: str, edge: str) -> None:
        x, y, r = (self._finer * number for number in (*place, radius))
        self._draw.ellipse((x - r, y - r, x + r, y + r), color, edge, 2 * self._finer)

    def text(
        self,
        place: Point,
        text: str,
        size: int,
        color: str = INK,
        anchor: str = "l",
        *,
        upwards: bool = False,
    ) -> None:
        """A line of text, the middle of its letters, ``size`` high, at the height of ``place``.

        It begins there (``anchor`` "l"), ends there ("r"), or has its middle there ("m").
        ``upwards`` turns it a quarter about ``place``.
        """
        x, y = (self._finer * number for number in place)
        font = font_of(size * self._finer)
        if not upwards:
            self._draw.text((x, y), text, color, font, anchor + "m")
            return
        tile = Image.new("L", (math.ceil(font.getlength(text)), 2 * size * self._finer))
        ImageDraw.Draw(tile).text((0, tile.height / 2), text, 255, font, "lm")
        tile = tile.transpose(Image.Transpose.ROTATE_90)
        y += tile.height / 2 if anchor == "m" else 0
        self._image.paste(color, (round(x - tile.width / 2), round(y - tile.height)), tile)

    def image(self) -> Image.Image:
        return self._image.reduce(self._finer)


def draw_confusion(
    counts: Sequence[Sequence[int]], names: Sequence[str], title: str
) -> Image.Image:
    """A confusion matrix in percent of each row, blue where it is right and orange where not.

    Args:
        counts: (C, C) counts[true][predicted].
        names: of the C labels.
        title: above it.
    """
    cell, size, digits = next(row[1:] for row in CELLS if len(names) >= row[0])
    side, shown = len(names) * cell, [shortened(name, 16, 190) for name in names]
    longest = round(max(font_of(16).getlength(name) for name in shown))
    left, top = longest + 64, longest + 108
    width = max(left + side, round(font_of(20).getlength(title)) + 24) + 24
    canvas = Canvas(width, top + side + 24, finer=1)
    canvas.text((24, 30), title, 20)
    canvas.text((24, 56), "percent of each row's pixels", 14, GRAY)
    canvas.text((left + side / 2, 82), "prediction", 15, GRAY, "m")
    canvas.text((26, top + side / 2), "truth", 15, GRAY, "m", upwards=True)
    for true, row in enumerate(counts):
        total, middle = sum(row), (true + 0.5) * cell
        canvas.text((left - 8, top + middle), shown[true], 16, anchor="r")
        canvas.text((left + middle, top - 8), shown[true], 16, upwards=True)
        for predicted, count in enumerate(row):
            x, y = left + predicted * cell, top + true * cell
            share, full = count / max(1, total), RIGHT if true == predicted else WRONG
            color = tuple(round(255 - share * (255 - value)) for value in full)
            canvas.box((x, y), cell, color if total else NOTHING)
            if float(text := f"{100 * share:.{digits}f}"):
                ink = "white" if share >= DARK else INK
                canvas.text((x + cell / 2, y + cell / 2), text, size, ink, "m")
    return canvas.image()


def shortened(text: str, size: int, width: float) -> str:
    """The text, its end cut off with "..." where it is wider than ``width`` pixels."""
    lengths = range(len(text), -1, -1)
    cuts = (text if length == len(text) else f"{text[:length]}..." for length in lengths)
    return next((cut for cut in cuts if font_of(size).getlength(cut) <= width), "")


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Numbers 1, 2 or 5 times a power of ten apart, from ``low`` or below to ``high`` or above."""
    step = max(high - low, abs(high) * 1e-3, 1e-9) / most
    power = 10.0 ** math.floor(math.log10(step))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def save_picture(path: Path, draw: Callable[[], Image.Image]) -> None:
    """Write what ``draw`` gives as a PNG file, whole or not at all.

    A picture is a help and no result: what keeps it from being drawn or written ends nothing. One
    of other numbers, from before, is then removed.
    """
    try:
        with replacing(path) as temporary:
            draw().save(temporary, "PNG")
    except Exception as error:
        with suppress(OSError):
            path.unlink()
        text = "%s cannot be drawn, the rest goes on: %s: %s"
        logger.warning(text, path.name, type(error).__name__, error)
