"""How often each mask has each pixel value: found by worker processes, kept between runs."""

from __future__ import annotations

import io
import logging
import os
import time
import zipfile
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

CACHE_NAME = ".label_counts.npz"  # beside the masks
FORMAT_VERSION = 1
Ints = npt.NDArray[np.int64]
Look = tuple[list[Finding], dict[int, int]]  # what ``look_at`` gives

FIRST = 100  # pairs looked at by this process, which tells how long the others will take
WORTH_WORKERS = 2.0  # seconds: for less, starting processes takes longer than it saves


@dataclass(frozen=True)
class ValueCounts:
    """The pixel values of masks, and the state of the files that they were counted in.

    Attributes:
        names: (N) masks, relative to their folder.
        stats: (N, 4) int64, size in bytes and time of change in ns of the mask and of its image.
        values: (K,) int64, the pixel values that any mask has, ascending, see ``read_mask``.
        counts: (N, K) int64, pixels of each value in each mask.
    """

    names: tuple[str, ...]
    stats: Ints
    values: Ints
    counts: Ints

    @classmethod
    def of(
        cls, names: Sequence[str], stats: Ints, counts: Sequence[Mapping[int, int]]
    ) -> ValueCounts:
        """From each mask's pixel values and their numbers."""
        values = np.array(sorted(set().union(*counts)), np.int64)
        column = {int(value): k for k, value in enumerate(values)}
        table = np.zeros((len(names), len(values)), np.int64)
        for row, mask in zip(table, counts, strict=True):
            for value, count in mask.items():
                row[column[value]] = count
        return cls(tuple(names), stats, values, table)

    def rows(self, indices: Sequence[int]) -> ValueCounts:
        """Some of the masks."""
        names = tuple(self.names[index] for index in indices)
        chosen = np.array(indices, np.int64)
        return ValueCounts(names, self.stats[chosen], self.values, self.counts[chosen])

    def joined(self, other: ValueCounts) -> ValueCounts:
        """These masks, and then the others."""
        values = np.union1d(self.values, other.values)
        counts = np.concatenate([self.of_values(values), other.of_values(values)])
        stats = np.concatenate([self.stats, other.stats])
        return ValueCounts(self.names + other.names, stats, values, counts)

    def of_values(self, values: npt.ArrayLike) -> Ints:
        """(N, len(values)) int64: the pixels of each of these values, 0 where no mask has it."""
        wanted, known = np.asarray(values, np.int64), np.append(self.values, -1)
        column = np.searchsorted(self.values, wanted)
        column[known[column] != wanted] = len(self.values)  # one more for those without
        return np.pad(self.counts, ((0, 0), (0, 1)))[:, column]


EMPTY = ValueCounts((), np.zeros((0, 4), np.int64), np.zeros(0, np.int64), np.zeros((0, 0), int))


def stat_pairs(pairs: Sequence[tuple[Path, Path]]) -> Ints:
    """``ValueCounts.stats`` of (image path, mask path) pairs; -1 for files that are not there."""
    stats = np.full((len(pairs), 4), -1, np.int64)
    for row, (image, mask) in zip(stats, pairs, strict=True):
        try:
            of_mask, of_image = os.stat(mask), os.stat(image)  # noqa: PTH116  # a third faster
        except OSError:
            continue
        row[:] = of_mask.st_size, of_mask.st_mtime_ns, of_image.st_size, of_image.st_mtime_ns
    return stats


def read_counts(masks_dir: Path, *, by_color: bool = False) -> ValueCounts:
    """What was kept for a mask folder; nothing if there is no such file, or it is damaged.

    Nor is there if palettes were looked at in the other way, by their indices or colours.
    """
    path = masks_dir / CACHE_NAME
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            kept_by_color = "by_color" in file and bool(file["by_color"])
            if int(file["format_version"]) != FORMAT_VERSION or kept_by_color != by_color:
                return EMPTY
            names = tuple(os.fsdecode(file["names"].tobytes()).split("\0"))
            kept = ValueCounts(names, file["stats"], file["values"], file["counts"])
    except FileNotFoundError:
        return EMPTY
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.debug("%s: ignored, and made anew: %s", path, error)
        return EMPTY
    fits = kept.stats.shape == (len(names), 4) and kept.counts.shape == (
        len(names),
        len(kept.values),
    )
    return kept if fits else EMPTY


def keep_counts(masks_dir: Path, new: ValueCounts, *, by_color: bool = False) -> None:
    """Add to what is kept for a mask folder, whole or not at all; forgets masks that are gone.

    A folder that cannot be written to is no error: the next run counts again.
    """
    path = masks_dir / CACHE_NAME
    try:
        with locked(masks_dir):
            old, fresh = read_counts(masks_dir, by_color=by_color), set(new.names)
            others = [
                index
                for index, name in enumerate(old.names)
                if name not in fresh and (masks_dir / name).is_file()
            ]
            kept = new.joined(old.rows(others))
            data = io.BytesIO()
            np.savez(
                data,
                format_version=FORMAT_VERSION,
                names=np.frombuffer(os.fsencode("\0".join(kept.names)), np.uint8),
                stats=kept.stats,
                values=kept.values,
                counts=kept.counts,
                by_color=by_color,
            )
            with replacing(path) as temporary:
                temporary.write_bytes(data.getvalue())
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
    stats = stat_pairs(pairs.pairs)
    kept = read_counts(pairs.masks_dir, by_color=by_color)
    row_of = {name: row for row, name in enumerate(kept.names)}
    rows = np.array([row_of.get(name, -1) for name in names], np.int64)
    same = rows >= 0
    same[same] = (kept.stats[rows[same]] == stats[same]).all(axis=1)

    changed = np.flatnonzero(~same).tolist()
    looks: list[Look] = []
    try:
        looks.extend(_look([pairs.pairs[index] for index in changed], workers, by_color))
    finally:  # Ctrl-C loses nothing
        usable = [
            number for number, (wrong, _) in enumerate(looks) if not _is_left_out(wrong, images)
        ]
        good = [changed[number] for number in usable]
        counts = [looks[number][1] for number in usable]
        new = ValueCounts.of([names[index] for index in good], stats[good], counts)
        # What there is to say of a pair is said again by the next run.
        clean = [row for row, number in enumerate(usable) if not looks[number][0]]
        if clean:
            keep_counts(pairs.masks_dir, new.rows(clean), by_color=by_color)

    order = np.array([*np.flatnonzero(same).tolist(), *good], np.int64)
    back = np.argsort(order)
    found = kept.rows(rows[same].tolist()).joined(new).rows(back.tolist())
    findings = [
        finding for wrong, _ in looks for finding in wrong if images or not finding.of_image
    ]
    return tuple(pairs.pairs[index] for index in order[back].tolist()), found, findings


def _is_left_out(findings: Sequence[Finding], images: bool) -> bool:
    return any(not one.is_kept and (images or not one.of_image) for one in findings)


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
