"""Which mask belongs to which image: by relative path, whatever the suffix. Needs no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Pairs:
    """What two folders have in common, and what they do not; all sorted by relative path.

    Attributes:
        pairs: (image path, mask path), at least one.
        images_without_mask: image paths.
        masks_without_image: mask paths.
    """

    pairs: tuple[tuple[Path, Path], ...]
    images_without_mask: tuple[Path, ...]
    masks_without_image: tuple[Path, ...]


def pair_images_and_masks(images_dir: Path, masks_dir: Path) -> Pairs:
    """Pair ``images_dir/a/b.JPG`` with ``masks_dir/a/b.png``.

    Raises:
        ValueError: a folder is missing or holds no picture, nothing pairs, or two files of one
            folder differ in nothing but their suffix, so that it cannot be said which is meant.
    """
    images, masks = _pictures_by_key(images_dir), _pictures_by_key(masks_dir)
    shared = images.keys() & masks.keys()
    if not shared:
        raise ValueError(
            f"no image of {images_dir} has a mask in {masks_dir}: they pair by path without "
            f"suffix, but images are named like {min(images)!r} and masks like {min(masks)!r}"
        )
    return Pairs(
        pairs=tuple((images[key], masks[key]) for key in sorted(shared)),
        images_without_mask=tuple(images[key] for key in sorted(images.keys() - shared)),
        masks_without_image=tuple(masks[key] for key in sorted(masks.keys() - shared)),
    )


def find_pictures(folder: Path) -> list[Path]:
    """Files with a picture's suffix (any case) in ``folder`` and below, sorted; hidden ones not.

    Raises:
        ValueError: ``folder`` is no folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    return sorted(
        Path(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
    )


def _pictures_by_key(folder: Path) -> dict[str, Path]:
    by_key: dict[str, Path] = {}
    for path in find_pictures(folder):
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in by_key:
            raise ValueError(
                f"{by_key[key]} and {path} differ only in their suffix, so both would pair with "
                "the same file; rename or remove one"
            )
        by_key[key] = path
    if not by_key:
        raise ValueError(f"{folder}: holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return by_key
