"""Images and their masks looked at, as little as tells whether training can read them.

Also the kinds of problems, and what to do about each. What was good is kept beside the masks, so
that the next run looks at changed files only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from PIL import Image

from datasets.images import orientation_of, remarks_of
from datasets.mask_files import MaskError, Size, count_values
from datasets.pairs import Pairs
from runtime.bar import Bar
from runtime.files import replacing
from runtime.workers import ordered_map

# A whole file has its format's last marker near its end; what a tool adds after it is short.
END_MARKERS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND\xaeB`\x82"}  # by the first two bytes
TAIL = 64

CACHE_NAME = ".label_counts.json"  # beside the masks
FORMAT_VERSION = 2  # 2: of colours too; photos are compared as EXIF says
WORTH_WORKERS = 1000  # pairs: with fewer, starting processes takes longer than it saves

Kept = tuple[list[int], dict[int, int]]  # see ``stat_pairs``; pixels of each value


@dataclass(frozen=True)
class Kind:
    """A kind of problem."""

    role: str  # "image" or "mask", the file that has it
    what: str  # continues the role
    outcome: str  # "fatal" (no training), "left out" (training without the pair) or "kept"
    advice: str = ""  # what to do


# Left out is what a person may well accept: a few files lost on the way. Fatal is what would be
# the same mistake in many files, and would make training learn something else than was meant.
_ROWS = json.loads(Path(__file__).with_name("problems.json").read_text(encoding="utf-8"))
KINDS = {name: Kind(**row) for name, row in _ROWS.items()}


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file."""

    name: str  # of its kind, a key of KINDS
    path: Path
    detail: str = ""  # what was found in it

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]


Look = tuple[list[Finding], dict[int, int]]  # what ``look_at`` gives


def look_at(pair: tuple[Path, Path], *, by_color: bool = False) -> Look:
    """Look at a pair: the image's header and end, all of the mask (see ``count_values``).

    An image whose end looks cut off is decoded to see whether it is. Damage in the middle of an
    image is not found. Gives what is wrong, and the pixels of each value in the mask, if it is one.
    """
    image_path, mask_path = pair
    findings: list[Finding] = []
    image_size = mask_size = None
    orientation = 1
    counts: dict[int, int] = {}
    try:
        image_size, orientation, remarks = look_at_image(image_path)
        findings += [Finding("odd_image", image_path, remark) for remark in remarks]
    except Exception as error:  # Pillow's readers raise whatever a damaged header leads them to
        findings.append(_unreadable("image", image_path, error))
    try:
        mask_size, counts = count_values(mask_path, by_color=by_color)
    except MaskError as error:
        findings.append(Finding(error.kind, mask_path, error.detail))
    except Exception as error:
        findings.append(_unreadable("mask", mask_path, error))
    if image_size and mask_size:
        upright = image_size[::-1] if orientation > 4 else image_size
        if orientation > 1 and mask_size == upright:
            kind = "either_way" if upright == image_size else "upright"
            findings.append(Finding(kind, image_path))
        elif mask_size != image_size:
            mask, image = (f"{height}x{width}" for height, width in (mask_size, image_size))
            findings.append(Finding("other_size", mask_path, f"{mask}, its image {image}"))
    return findings, counts


def look_at_image(path: Path) -> tuple[Size, int, list[str]]:
    """Its size as stored, EXIF's orientation, and what ``remarks_of`` says."""
    with path.open("rb") as file:
        whole = _has_end(file)
        with Image.open(file) as image:
            remarks = remarks_of(image)
            if not whole:
                image.load()
            # Pillow turns TIFF by itself.
            orientation = 1 if image.format == "TIFF" else orientation_of(image)
            return (image.height, image.width), orientation, remarks


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


def look_at_all(pairs: Pairs, workers: int, *, by_color: bool = False) -> list[Look]:
    """Look at each pair in order, or remember that it was good; shows a progress bar."""
    start = len(str(pairs.masks_dir / "x")) - 1
    names = [str(mask)[start:] for _, mask in pairs.pairs]
    stats = stat_pairs(pairs.pairs)
    kept = read_counts(pairs.masks_dir, by_color=by_color)
    looks: dict[int, Look] = {
        index: ([], kept[name][1])
        for index, (name, status) in enumerate(zip(names, stats, strict=True))
        if name in kept and kept[name][0] == status
    }
    changed = [index for index in range(len(names)) if index not in looks]
    new: dict[str, Kept] = {}  # what there is to say of a pair is said again by the next run
    used = workers if len(changed) > WORTH_WORKERS else 1
    look_at_one = partial(look_at, by_color=by_color)
    try:
        found = ordered_map(look_at_one, (pairs.pairs[i] for i in changed), used)
        with closing(found), Bar("checking", len(changed), " pairs") as bar:
            for index, look in zip(changed, found, strict=True):
                bar.advance(1)
                looks[index] = look
                if not look[0]:
                    new[names[index]] = stats[index], look[1]
    finally:  # Ctrl-C loses nothing
        if new:
            _keep_counts(pairs.masks_dir, new, by_color)
    return [looks[index] for index in range(len(names))]


def stat_pairs(pairs: Sequence[tuple[Path, Path]]) -> list[list[int]]:
    """What changes with the files of (image path, mask path) pairs.

    Of each, size in bytes and time of change (ns) of mask and image; nothing if one is not there.
    """
    found: list[list[int]] = []
    for image, mask in pairs:
        found.append([])
        with suppress(OSError):
            statuses = os.stat(mask), os.stat(image)  # noqa: PTH116  # a third faster
            found[-1] = [number for each in statuses for number in (each.st_size, each.st_mtime_ns)]
    return found


def read_counts(masks_dir: Path, *, by_color: bool = False) -> dict[str, Kept]:
    """What was kept for each mask of a folder, if it is whole and palettes were read as now."""
    path = masks_dir / CACHE_NAME
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if (kept["format_version"], kept["by_color"]) != (FORMAT_VERSION, by_color):
            return {}
        return {name: (stats, dict(counts)) for name, (stats, counts) in kept["masks"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _keep_counts(masks_dir: Path, new: Mapping[str, Kept], by_color: bool) -> None:
    """Add to what is kept, whole or not at all; forgets masks that are gone.

    Where the folder cannot be written to, or another run writes too, some are counted again.
    """
    with suppress(OSError):
        old = read_counts(masks_dir, by_color=by_color)
        all_kept = {**{n: kept for n, kept in old.items() if (masks_dir / n).is_file()}, **new}
        masks = {n: (stats, list(counts.items())) for n, (stats, counts) in all_kept.items()}
        kept = {"format_version": FORMAT_VERSION, "by_color": by_color, "masks": masks}
        with replacing(masks_dir / CACHE_NAME) as temporary:
            temporary.write_bytes(json.dumps(kept).encode())
