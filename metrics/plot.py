"""Drawing of figures with Pillow alone. Places are in pixels, from the upper left corner."""

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

Point = tuple[float, float]

font_of = cache(ImageFont.load_default)  # by the height of its letters, in pixels


class Canvas:
    """A white figure. Text is drawn last, at its own size, so that letters stay crisp.

    Args:
        width, height: in pixels.
        finer: lines are drawn so much larger and reduced, which smooths them.
    """

    def __init__(self, width: int, height: int, finer: int = 3) -> None:
        self._finer = finer
        self._fine = Image.new("RGB", (width * finer, height * finer), "white")
        self._draw = ImageDraw.Draw(self._fine)
        self._texts: list[Callable[[Image.Image], None]] = []

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
        self, place: Point, text: str, size: int, color: str = INK, align: float = 0, turn: int = 0
    ) -> None:
        """A line of text, the middle of its letters at the height of ``place``.

        Args:
            place: x and y.
            text: what is written.
            size: height of the letters.
            color: of the letters.
            align: share of the text before ``place``: 0 begins there, 1 ends there.
            turn: 1 turns it a quarter about ``place``, to be read upwards.
        """

        def paint(image: Image.Image) -> None:
            font = font_of(size)
            _, top, _, bottom = font.getbbox("0")  # every line of text has the same middle
            width = math.ceil(font.getlength(text)) + 2
            tile = Image.new("L", (width, 2 * size))
            start = (1, size - (top + bottom) / 2)
            ImageDraw.Draw(tile).text(start, text, fill=255, font=font)
            x, y = place[0] - align * width, place[1] - size
            if turn:
                tile = tile.transpose(Image.Transpose.ROTATE_90)
                x, y = place[0] - size, place[1] - (1 - align) * width
            image.paste(Image.new("RGB", tile.size, color), (round(x), round(y)), tile)

        self._texts.append(paint)

    def image(self) -> Image.Image:
        image = self._fine.reduce(self._finer)
        for paint in self._texts:
            paint(image)
        return image


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


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from below ``low`` to above ``high``; or only powers."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = (last - first) // 9 + 1
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [f * 10.0**power for power in range(first, last + step, step) for f in factors]
    below = max(number for number, tick in enumerate(ticks) if tick <= low * (1 + 1e-9))
    above = min(number for number, tick in enumerate(ticks) if tick >= high * (1 - 1e-9))
    return ticks[below : above + 1]


def save_picture(path: Path, draw: Callable[[], Image.Image]) -> None:
    """Write what ``draw`` gives as a PNG file, whole or not at all.

    A picture is a help and no result: what keeps it from being drawn or written ends nothing, and
    is told once. One of other numbers, from before, is then removed.
    """
    try:
        with replacing(path) as temporary:
            draw().save(temporary, "PNG")
    except Exception as error:
        with suppress(OSError):
            path.unlink()
        _tell(path.name, f"{type(error).__name__}: {error}")


@cache
def _tell(name: str, reason: str) -> None:
    logger.warning("%s cannot be drawn, the rest goes on: %s", name, reason)
