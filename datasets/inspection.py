"""One image and its mask, looked at as little as tells whether training can read them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from datasets.masks import JPEG_FORMATS, Size, count_values
from datasets.problems import Finding

# A whole file has its format's last marker near its end; what a tool adds after it is short.
END_MARKERS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND\xaeB`\x82"}  # by the first two bytes
TAIL = 64


@dataclass(frozen=True)
class Look:
    """What a pair is like.

    Attributes:
        findings: what is wrong with it.
        counts: how often the mask has each pixel value that it has; empty if it has findings.
    """

    findings: tuple[Finding, ...]
    counts: dict[int, int]


def look_at(pair: tuple[Path, Path]) -> Look:
    """Look at a pair: the image's header and end, all of the mask (see ``masks.count_values``).

    An image whose end looks cut off is decoded to see whether it is. Damage in the middle of an
    image is not found.
    """
    image_path, mask_path = pair
    findings: list[Finding] = []
    image_size = mask_size = None
    counts: dict[int, int] = {}
    try:
        image_size = _look_at_image(image_path)
    except Exception as error:  # Pillow's readers raise whatever a damaged header leads them to
        findings.append(_unreadable("image", image_path, error))
    try:
        mask_size, found = count_values(mask_path)
        counts = {value: int(found[value]) for value in np.flatnonzero(found).tolist()}
    except Exception as error:
        findings.append(_bad_form(mask_path) or _unreadable("mask", mask_path, error))
    if image_size and mask_size and image_size != mask_size:
        detail = f"{_text(mask_size)}, its image {_text(image_size)}"
        findings.append(Finding("other_size", mask_path, detail))
    return Look(tuple(findings), {} if findings else counts)


def _look_at_image(path: Path) -> Size:
    with path.open("rb") as file:
        whole = _has_end(file)
        with Image.open(file) as image:
            if image.mode[0] in "IF":
                raise ValueError(f"mode {image.mode}, expected 8 bits a channel")
            if not whole:
                image.load()
            return image.height, image.width


def _has_end(file: IO[bytes]) -> bool:
    """Whether a JPEG or PNG file ends as it should; False for other formats."""
    marker = END_MARKERS.get(file.read(2))
    file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
    tail = file.read()
    file.seek(0)
    return marker is not None and marker in tail


def _unreadable(role: str, path: Path, error: Exception) -> Finding:
    if path.is_file() and path.stat().st_size == 0:
        return Finding(f"empty_{role}", path)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    known = text.partition("cannot identify image file")[1]
    detail = "not a picture" if known else text.removeprefix(f"{path}: ")
    return Finding(f"unreadable_{role}", path, detail or type(error).__name__)


def _bad_form(path: Path) -> Finding | None:
    """What makes a readable picture no mask: that it is a JPEG, or its mode."""
    try:
        with Image.open(path) as image:
            if image.format in JPEG_FORMATS:
                return Finding("jpeg_mask", path)
            if image.mode in ("P", "L"):
                return None
            is_color = image.mode in ("RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV")
            return Finding("color_mask" if is_color else "mask_mode", path, image.mode)
    except Exception:
        return None


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
