"""Drawing of figures with Pillow alone. Places are in pixels, from the upper left corner."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from runtime.files import replacing
from runtime.fonts import font_of, printable, text_width

logger = logging.getLogger(__name__)

INK, GRAY, GRID = "#222222", "#6b6b6b", "#e6e6e6"

Point = tuple[float, float]


class Canvas:
    """A white figure, ``image``."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), "white")
        self._draw = ImageDraw.Draw(self.image)

    def box(self, corner: Point, size: float, color: Any) -> None:
        self._draw.rectangle((*corner, corner[0] + size, corner[1] + size), color, GRID)

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

        font = font_of(size)
        _, top, _, bottom = font.getbbox("0")  # every line of text has the same middle
        width = math.ceil(text_width(text, font)) + 2
        tile = Image.new("L", (width, 2 * size))
        start = (1, size - (top + bottom) / 2)
        ImageDraw.Draw(tile).text(start, printable(text, font), fill=255, font=font)
        x, y = place[0] - align * width, place[1] - size
        if turn:
            tile = tile.transpose(Image.Transpose.ROTATE_90)
            x, y = place[0] - size, place[1] - (1 - align) * width
        self.image.paste(Image.new("RGB", tile.size, color), (round(x), round(y)), tile)


def shortened(text: str, size: int, width: float) -> str:
    """The text, its end cut off with "..." where it is wider than ``width`` pixels."""
    lengths = range(len(text), -1, -1)
    cuts = (text if length == len(text) else f"{text[:length]}..." for length in lengths)
    return next((cut for cut in cuts if text_width(cut, font_of(size)) <= width), "")


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
