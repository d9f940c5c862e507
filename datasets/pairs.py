"""Which mask belongs to which image: by relative path, whatever the suffix. Needs no torch."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from datasets.images import IMAGE_SUFFIXES, find_pictures


@dataclass(frozen=True)
class Pairs:
    """What two folders have in common, and what they do not; all sorted by relative path."""

    images_dir: Path
    masks_dir: Path
    pairs: tuple[tuple[Path, Path], ...]  # (image, mask)
    images_without_mask: tuple[Path, ...] = ()
    masks_without_image: tuple[Path, ...] = ()


def pair_images_and_masks(images_dir: Path, masks_dir: Path) -> Pairs:
    """Pair ``images_dir/a/b.JPG`` with ``masks_dir/a/b.png``; there is at least one pair.

    Raises:
        ValueError: a folder is missing or holds no picture, nothing pairs, or two files of one
            folder differ in nothing but their suffix, so that it cannot be said which is meant.
    """
    images, masks = pictures_by_key(images_dir), pictures_by_key(masks_dir)
    shared = sorted(images.keys() & masks.keys())
    if not shared:
        raise ValueError(no_pair(str(images_dir), min(images), masks_dir, min(masks)))
    return Pairs(
        images_dir,
        masks_dir,
        pairs=tuple((images[key], masks[key]) for key in shared),
        images_without_mask=tuple(images[key] for key in sorted(images.keys() - masks.keys())),
        masks_without_image=tuple(masks[key] for key in sorted(masks.keys() - images.keys())),
    )


def no_pair(images_dir: str, image: str, masks_dir: Path, mask: str) -> str:
    """What to say where no image has a mask; an image and a mask show how both are named."""
    return (
        f"no image of {images_dir} has a mask in {masks_dir}: they pair by path without suffix, "
        f"but images are named like {image!r} and masks like {mask!r}"
    )


def split_pairs(pairs: Pairs, val_fraction: float) -> tuple[Pairs, Pairs]:
    """Split one folder in two, for training and for validation, by name alone.

    A hash of its relative path without suffix puts each file on a line from 0 to 1, and those
    below ``val_fraction`` are for validation. So a file's side depends on no other file. The price
    is a share met by chance: of 1,000 pairs, 0.2 takes 200 give or take 13. A side that would be
    empty gets the one pair nearest to it.

    Raises:
        ValueError: there are fewer than two pairs.
    """
    if len(pairs.pairs) < 2:
        raise ValueError(
            f"{pairs.images_dir}: one pair cannot be split in training and validation; give more"
        )
    places = [_place(image, pairs.images_dir) for image, _ in pairs.pairs]
    border = min(max(val_fraction, math.nextafter(min(places), 1)), max(places))

    def part(is_val: bool) -> Pairs:
        def belongs(path: Path, folder: Path) -> bool:
            return (_place(path, folder) < border) == is_val

        images, masks = pairs.images_dir, pairs.masks_dir
        return Pairs(
            images,
            masks,
            tuple(pair for pair in pairs.pairs if belongs(pair[0], images)),
            tuple(path for path in pairs.images_without_mask if belongs(path, images)),
            tuple(path for path in pairs.masks_without_image if belongs(path, masks)),
        )

    return part(False), part(True)


def _place(path: Path, folder: Path) -> float:
    """Where a file stands between 0 and 1: from a hash, so by its name alone, yet evenly."""
    key = path.relative_to(folder).with_suffix("").as_posix()
    digest = hashlib.sha256(os.fsencode(key)).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def pictures_by_key(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their relative paths without suffix; there is at least one.

    Raises:
        ValueError: there is none, or two differ in nothing but their suffix.
    """
    by_key: dict[str, Path] = {}
    start = len(str(folder / "x")) - 1
    for path in find_pictures(folder):
        key = str(path)[start : -len(path.suffix)]
        if key in by_key:
            raise ValueError(
                f"{by_key[key]} and {path} differ only in their suffix, so both would pair with "
                "the same file; rename or remove one"
            )
        by_key[key] = path
    if not by_key:
        others = Counter(path.suffix for path in folder.rglob("*.*") if path.is_file())
        but = f", but {others.most_common(1)[0][1]} {others.most_common(1)[0][0]}" if others else ""
        raise ValueError(f"{folder}: holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))}){but}")
    return by_key
