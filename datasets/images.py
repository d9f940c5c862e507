"""Which files of a folder are images, how their pixels are read, and which way up they are."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

Pixels = npt.NDArray[np.uint8]

EXIF_ORIENTATION = 0x0112

DEPTHS = (8, 10, 12, 14, 16)  # bits that a camera or a scanner fills
DEEP_COLORS = re.compile("RGB[AXa]?;16[BLN]")  # as Pillow calls 16 bits a channel

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
    """Turn and mirror pixels as stored, (H, W) or (H, W, 3), upright, by EXIF's number."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def to_rgb(image: Image.Image) -> Pixels:
    """The pixels of an opened picture as training and inference see them: (H, W, 3) uint8, a copy.

    More than 8 bits are scaled: whole numbers by the least of ``DEPTHS`` that holds them all, so
    that 12 bits in 16 are not nearly black; decimals from 0 to 1 by 255; any other numbers from
    their lowest to their highest.
    """
    if image.mode[0] in "IF":
        return np.repeat(_eight_bits(np.asarray(image))[:, :, None], 3, axis=2)
    if image.format in ("PNG", "TIFF") and (deep := _deep_colors(image)) is not None:
        return _eight_bits(deep)
    if "transparency" in image.info:  # the colours below it count
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _form_of(image: Image.Image) -> str:
    """Pillow's name for the bytes of an opened picture, not yet loaded: "L", "RGB;16B", ..."""
    tiles = getattr(image, "tile", None) or [("", (), 0, "")]
    form = tiles[0][3]
    return form if isinstance(form, str) else str(form[0])


def _deep_colors(image: Any) -> npt.NDArray[Any] | None:
    """(H, W, 3) colours of 16 bits: Pillow reads the upper bytes, in the other order the lower."""
    with Image.open(image.filename) as again:
        form = _form_of(again)
        if not DEEP_COLORS.fullmatch(form):
            return None
        native = {"little": "L", "big": "B"}[sys.byteorder]
        other = form[:-1] + ("B" if form[-1].replace("N", native) == "L" else "L")
        tile_of = getattr(ImageFile, "_Tile", lambda *parts: parts)  # a class since Pillow 11
        again.tile = [
            tile_of(*tile[:3], other if tile[3] == form else (other, *tile[3][1:]))
            for tile in again.tile
        ]
        values = np.asarray(image)[..., :3].astype(np.uint16)
        values <<= 8
        values |= np.asarray(again)[..., :3]
    return values


def _eight_bits(values: npt.NDArray[Any]) -> Pixels:
    numbers = values if values.dtype.kind in "iu" else values[np.isfinite(values)]
    low, high = (numbers.min(), numbers.max()) if numbers.size else (0, 0)
    if values.dtype.kind in "iu" and low >= 0 and high < 2 ** DEPTHS[-1]:
        bits = next(bits for bits in DEPTHS if high < 2**bits)
        return (values >> (bits - 8)).astype(np.uint8)
    start, end = (0, 1) if low >= 0 and high <= 1 else (float(low), float(high))
    shares = (np.nan_to_num(values.astype(np.float64), nan=start) - start) / ((end - start) or 1)
    pixels: Pixels = (255 * shares.clip(0, 1)).round().astype(np.uint8)
    return pixels


def remarks_of(image: Image.Image) -> list[str]:
    """What of an opened picture, not yet loaded, is seen otherwise than it is stored."""
    form, moves = _form_of(image), getattr(image, "is_animated", False)
    is_deep = image.mode[0] in "IF" or bool(DEEP_COLORS.fullmatch(form))
    found = {
        "the first picture of several in the file": moves and image.format != "MPO",
        "more than 8 bits a pixel, scaled to 8": is_deep,
        "16 bits a channel, of which the upper 8 are seen": form.startswith("LA;16"),
        "a further band, no alpha, which is not seen": form.startswith("RGBX"),
    }
    return [remark for remark, holds in found.items() if holds]
