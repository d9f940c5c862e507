"""The letters that this installation of Pillow has; nothing is looked for elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Any

from PIL import ImageFont


@cache
def font_of(size: int) -> Any:
    """Pillow's own font; before Pillow 10.1, or without FreeType, of one small size only."""
    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default()


def printable(text: str, font: Any) -> str:
    """The small font has Latin letters only, and raises an error at others."""
    if isinstance(font, ImageFont.FreeTypeFont):
        return text
    return text.encode("latin-1", errors="replace").decode("latin-1")


def text_width(text: str, font: Any) -> float:
    """In pixels."""
    return float(font.getlength(printable(text, font)))
