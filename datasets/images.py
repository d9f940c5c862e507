"""Which files of a folder are images. Opens none."""

from __future__ import annotations

import os
from pathlib import Path

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
