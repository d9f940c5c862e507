"""Which files of a folder are images, and which way up they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

EXIF_ORIENTATION = 0x0112

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def find_pictures(folder: Path) -> list[Path]:
    """Files with a picture's suffix (any case) in ``folder`` and below, sorted; hidden ones not.

    Raises:
        ValueError: ``folder`` is no folder, or it or one below cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    found: list[Path] = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse_unreadable):
        if (real := os.path.realpath(parent)) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        found += (
            Path(parent, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        )
    return sorted(found, key=lambda path: path.parts)  # the order of paths, faster


def _refuse_unreadable(error: OSError) -> None:
    raise ValueError(
        f"{error.filename}: this folder cannot be read ({error.strerror}); change its permissions, "
        "or move it away"
    ) from error


def orientation_of(image: Image.Image) -> int:
    """EXIF's number of an opened picture, 1 to 8; 1 is upright as stored."""
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF data: the picture may be whole all the same
        return 1
    return orientation if orientation in range(1, 9) else 1


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """Turn and mirror pixels as stored, (H, W) or (H, W, 3), upright.

    Args:
        pixels: as stored.
        orientation: EXIF's number: 6 for a quarter turn clockwise, 8 for one counter-clockwise.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
