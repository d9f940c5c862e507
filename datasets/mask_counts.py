"""How often each mask has each pixel value: found by worker processes, kept between runs."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from datasets.inspection import Finding, look_at
from datasets.pairs import Pairs
from runtime.files import replacing
from runtime.locks import locked
from runtime.workers import ordered_map

logger = logging.getLogger(__name__)

CACHE_NAME = ".label_counts.json"  # beside the masks
LOCK_NAME = ".label_counts.lock"
FORMAT_VERSION = 2  # 2: of colours too; photos are compared as EXIF says
Ints = npt.NDArray[np.int64]
Kept = tuple[list[int], dict[int, int]]  # see ``stat_pairs``; pixels of each value
Look = tuple[list[Finding], dict[int, int]]  # what ``look_at`` gives

FIRST = 100  # pairs looked at by this process, which tells how long the others will take
WORTH_WORKERS = 2.0  # seconds: for less, starting processes takes longer than it saves


@dataclass(frozen=True)
class ValueCounts:
    """The pixel values of masks.

    Attributes:
        names: (N) masks, relative to their folder.
        values: (K,) int64, the pixel values that any of them has, ascending, see ``read_mask``.
        counts: (N, K) int64, pixels of each value in each mask.
    """

    names: tuple[str, ...]
    values: Ints
    counts: Ints

    @classmethod
    def of(cls, found: Mapping[str, Mapping[int, int]]) -> ValueCounts:
        """From the pixels of each value in each mask, by name."""
        values = np.array(sorted(set().union(*found.values())), np.int64)
        column = {value: k for k, value in enumerate(values.tolist())}
        counts = np.zeros((len(found), len(values)), np.int64)
        for row, mask in zip(counts, found.values(), strict=True):
            for value, count in mask.items():
                row[column[value]] = count
        return cls(tuple(found), values, counts)


def stat_pairs(pairs: Sequence[tuple[Path, Path]]) -> Ints:
    """What changes with the files of (image path, mask path) pairs.

    Returns:
        (N, 4) int64, size in bytes and time of change in ns of the mask and of its image; -1 for
        files that are not there.
    """
    stats = np.full((len(pairs), 4), -1, np.int64)
    for row, (image, mask) in zip(stats, pairs, strict=True):
        try:
            of_mask, of_image = os.stat(mask), os.stat(image)  # noqa: PTH116  # a third faster
        except OSError:
            continue
        row[:] = of_mask.st_size, of_mask.st_mtime_ns, of_image.st_size, of_image.st_mtime_ns
    return stats


def read_counts(masks_dir: Path, *, by_color: bool = False) -> dict[str, Kept]:
    """What was kept for each mask of a folder; nothing if there is no such file, or it is damaged.

    Nor is there if palettes were looked at in the other way, by their indices or colours.
    """
    path = masks_dir / CACHE_NAME
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if (kept["format_version"], kept["by_color"]) != (FORMAT_VERSION, by_color):
            return {}
        return {name: (stats, dict(counts)) for name, (stats, counts) in kept["masks"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.debug("%s: ignored, and made anew: %s", path, error)
        return {}


def keep_counts(masks_dir: Path, new: Mapping[str, Kept], *, by_color: bool = False) -> None:
    """Add to what is kept for a mask folder, whole or not at all; forgets masks that are gone.

    A folder that cannot be written to is no error: the next run counts again.
    """
    path = masks_dir / CACHE_NAME
    try:
        with locked(masks_dir / LOCK_NAME, wait=True):
            old = read_counts(masks_dir, by_color=by_color)
            old = {name: kept for name, kept in old.items() if (masks_dir / name).is_file()}
            masks = {
                name: (stats, list(counts.items()))
                for name, (stats, counts) in {**old, **new}.items()
            }
            kept = {"format_version": FORMAT_VERSION, "by_color": by_color, "masks": masks}
            with replacing(path) as temporary:
                temporary.write_bytes(json.dumps(kept).encode())
    except OSError as error:
        logger.debug("%s: not kept: %s", path, error)


def look_at_all(
    pairs: Pairs, workers: int, *, by_color: bool = False, images: bool = True
) -> tuple[tuple[tuple[Path, Path], ...], ValueCounts, list[Finding]]:
    """The usable pairs, the pixel values of their masks, and what is wrong with any.

    Args:
        pairs: what to look at.
        workers: processes.
        by_color: whether the colours of palettes count, see ``read_mask``.
        images: whether problems of images count; else somebody else tells them.
    """
    start = len(str(pairs.masks_dir / "x")) - 1
    names = [str(mask)[start:] for _, mask in pairs.pairs]
    stats = stat_pairs(pairs.pairs).tolist()
    kept = read_counts(pairs.masks_dir, by_color=by_color)
    found = {
        name: kept[name][1] if name in kept and kept[name][0] == status else None
        for name, status in zip(names, stats, strict=True)
    }
    changed = [index for index, name in enumerate(names) if found[name] is None]
    looks: list[Look] = []
    try:
        looks.extend(_look([pairs.pairs[index] for index in changed], workers, by_color))
    finally:  # Ctrl-C loses nothing
        # What there is to say of a pair is said again by the next run.
        new = {
            names[index]: (stats[index], counts)
            for index, (wrong, counts) in zip(changed, looks, strict=False)
            if not wrong
        }
        if new:
            keep_counts(pairs.masks_dir, new, by_color=by_color)
    findings = [one for wrong, _ in looks for one in wrong if images or not one.of_image]
    for index, (wrong, counts) in zip(changed, looks, strict=True):
        if not any(not one.is_kept and (images or not one.of_image) for one in wrong):
            found[names[index]] = counts
    usable = {name: counts for name, counts in found.items() if counts is not None}
    good = tuple(pair for name, pair in zip(names, pairs.pairs, strict=True) if name in usable)
    return good, ValueCounts.of(usable), findings


def _look(pairs: Sequence[tuple[Path, Path]], workers: int, by_color: bool) -> Iterator[Look]:
    """Look at each pair; masks that need no decoding are too fast for processes to pay off."""
    look_at_one = partial(look_at, by_color=by_color)
    with tqdm(desc="checking", total=len(pairs), unit=" pairs", leave=False, disable=None) as bar:
        start = time.perf_counter()
        for look in map(look_at_one, pairs[:FIRST]):
            yield look
            bar.update()
        remaining = (time.perf_counter() - start) / FIRST * (len(pairs) - FIRST)
        used = workers if remaining > WORTH_WORKERS else 1
        with closing(ordered_map(look_at_one, pairs[FIRST:], used)) as looks:
            for look in looks:
                yield look
                bar.update()
