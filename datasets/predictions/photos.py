"""Reading whatever people have in their folders: a photo, or the reason why it is none.

Runs in worker processes and needs no torch.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from datasets.images import Pixels, orientation_of, remarks_of, to_rgb, turn
from datasets.predictions.photo_files import PhotoFile

# Pillow reads dozens of formats more, some by running other programs (EPS by Ghostscript). A
# folder may hold strangers' files, so only these are tried.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF")
KNOWN = "JPEG, PNG, WebP, BMP, TIFF or GIF"

MOST_PIXELS = 178_956_970  # beyond it Pillow takes a picture for an attack on the memory

# A worker leaves larger ones to the process that predicts: workers are several pictures ahead.
MOST_PIXELS_AHEAD = 32_000_000


@dataclass(frozen=True)
class Photo:
    """A file as read.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright if asked for; None if there is a problem, or if the
            picture was too large to be read ahead.
        orientation: EXIF's 1 to 8, if it was applied; else 1.
        remarks: what of it is seen otherwise than it is stored.
        problem: why the file cannot be read; empty if it can.
        status: the file's size and time from before it was read, so that a file that is replaced
            meanwhile does not pass as the one that was read.
    """

    file: PhotoFile
    image: Pixels | None = None
    orientation: int = 1
    remarks: tuple[str, ...] = ()
    problem: str = ""
    status: os.stat_result | None = None


def read_photo(file: PhotoFile, *, exif: bool = True, most_pixels: int = MOST_PIXELS) -> Photo:
    """Read one file.

    Args:
        file: which.
        exif: turn the picture upright, as its EXIF orientation says.
        most_pixels: leave a larger picture alone: neither image nor problem.
    """
    try:
        if problem := _file_problem(file.path):
            return Photo(file, problem=problem)
        status = file.path.stat()
        return replace(_read(file, exif, most_pixels), status=status)
    except Exception as error:  # Pillow's readers raise whatever damaged bytes lead them to
        return Photo(file, problem=_reason(error))


def _read(file: PhotoFile, exif: bool, most_pixels: int) -> Photo:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large pictures and odd tags
        with Image.open(file.path, formats=FORMATS) as image:
            if image.format == "PNG":  # where a checksum is wrong, Pillow leaves the rest black
                image.verify()
        with Image.open(file.path, formats=FORMATS) as image:
            if image.width * image.height > most_pixels:
                return Photo(file)
            remarks = tuple(remarks_of(image))
            orientation = orientation_of(image)
            pixels = to_rgb(image)
            if image.format == "TIFF":  # Pillow turns these alone by itself
                pixels = turn(pixels, {6: 8, 8: 6}.get(orientation, orientation))
    orientation = orientation if exif else 1
    return Photo(file, turn(pixels, orientation), orientation, remarks)


def _file_problem(path: Path) -> str:
    """Why a path is not worth opening, or must not be opened: a pipe would wait for ever."""
    if not path.exists():
        return "a link to nothing" if path.is_symlink() else "no such file"
    if path.is_dir():
        with suppress(OSError), os.scandir(path):
            return "a folder"
        return "a folder that cannot be read"
    if not path.is_file():
        return "not a regular file, but a pipe, socket or device"
    return "" if path.stat().st_size else "an empty file (0 bytes)"


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not a picture in a known format ({KNOWN})"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: {error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())[:200]
    return f"damaged: {text or type(error).__name__}"
