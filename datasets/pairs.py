"""Which mask belongs to which image: by relative path, whatever the suffix. Needs no torch."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.images import IMAGE_SUFFIXES, find_pictures

Pair = tuple[Path, Path]  # (image, mask)


class PathPairs(Sequence[Pair]):
    """Pairs of files below two folders, held as bytes, some 30 a pair; as paths they take 1,000.

    Processes that read images share these bytes; of paths each would come to have a copy.
    """

    def __init__(self, images_dir: Path, masks_dir: Path, pairs: Iterable[Pair]) -> None:
        self._folders = images_dir, masks_dir
        image, mask = (len(os.fsencode(folder / "x")) - 1 for folder in self._folders)
        names = [(os.fsencode(pair[0])[image:], os.fsencode(pair[1])[mask:]) for pair in pairs]
        self._names = np.array(names, np.bytes_).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: Any) -> Any:
        """A pair by its number, or by a slice or a list of numbers the ``PathPairs`` of these."""
        names = self._names[index]
        if names.ndim == 1:
            return tuple(map(Path, self._folders, map(os.fsdecode, names.tolist())))
        part = copy(self)
        part._names = names
        return part


@dataclass(frozen=True)
class Pairs:
    """What two folders have in common, and what they do not; all sorted by relative path."""

    images_dir: Path
    masks_dir: Path
    pairs: PathPairs
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
        PathPairs(images_dir, masks_dir, ((images[key], masks[key]) for key in shared)),
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
        mine = [n for n, (image, _) in enumerate(pairs.pairs) if belongs(image, images)]
        return replace(
            pairs,
            pairs=pairs.pairs[mine],
            images_without_mask=tuple(p for p in pairs.images_without_mask if belongs(p, images)),
            masks_without_image=tuple(p for p in pairs.masks_without_image if belongs(p, masks)),
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
        others = Counter(path.suffix for path in folder.rglob("*.*")).most_common(1)
        but = "".join(f", but {number} {suffix}" for suffix, number in others)
        raise ValueError(f"{folder}: holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))}){but}")
    return by_key
