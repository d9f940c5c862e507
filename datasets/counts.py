"""How often each mask has each pixel value: kept between runs, and as a table for people."""

from __future__ import annotations

import io
import logging
import os
import platform
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.files import replacing
from runtime.locks import locked

logger = logging.getLogger(__name__)

CACHE_NAME = ".label_counts.npz"  # beside the masks
FORMAT_VERSION = 1
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ValueCounts:
    """The pixel values of masks, and the state of the files that they were counted in.

    Attributes:
        names: (N) masks, relative to their folder.
        stats: (N, 4) int64, size in bytes and time of change in ns of the mask and of its image.
        values: (K,) int64, the pixel values that any mask has, ascending.
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
        column = np.full(256, len(self.values))  # of each value; one more for those without
        column[self.values] = np.arange(len(self.values))
        return np.pad(self.counts, ((0, 0), (0, 1)))[:, column[np.asarray(values, int)]]


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


def read_counts(masks_dir: Path) -> ValueCounts:
    """What was kept for a mask folder; nothing if there is no such file, or it is damaged."""
    path = masks_dir / CACHE_NAME
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if int(file["format_version"]) != FORMAT_VERSION:
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


def keep_counts(masks_dir: Path, new: ValueCounts) -> None:
    """Add to what is kept for a mask folder, whole or not at all; forgets masks that are gone.

    A folder that cannot be written to is no error: the next run counts again.
    """
    path = masks_dir / CACHE_NAME
    try:
        with locked(masks_dir):
            old, fresh = read_counts(masks_dir), set(new.names)
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
            )
            with replacing(path, writer=platform.node()) as temporary:
                temporary.write_bytes(data.getvalue())
    except OSError as error:
        logger.debug("%s: not kept: %s", path, error)


def label_table(
    counts: npt.NDArray[np.int64],
    names: Sequence[str],
    class_weights: npt.ArrayLike | None = None,
    sample_weights: npt.ArrayLike | None = None,
) -> str:
    """What the masks hold, a line a label, and what loss and sampler make of it.

    Args:
        counts: (N, C) pixels of each label in each mask.
        names: of the C labels.
        class_weights: (C,) weight of each label in the loss; None if all weigh the same.
        sample_weights: (N,) how often each image is drawn, of any sum; None if evenly.

    Returns:
        Lines of text without a final newline: the share of pixels that a label has, of images
        that show it, its weight in the loss, and the expected share of draws that show it.
    """
    present = counts > 0  # N, C
    draws = np.ones(len(counts)) if sample_weights is None else np.asarray(sample_weights, float)
    weights = np.ones(len(names)) if class_weights is None else np.asarray(class_weights, float)
    pixels = counts.sum(axis=0) / max(1, counts.sum())
    images = present.mean(axis=0)
    drawn = draws @ present / draws.sum()
    width = max(len(name) for name in (*names, "label"))
    lines = [f"{'label':<{width}}{'pixels':>9}{'images':>9}{'weight':>9}{'draws':>9}"]
    for row in zip(names, pixels, images, weights, drawn, strict=True):
        name, pixel, image, weight, draw = row
        lines.append(f"{name:<{width}}{pixel:>9.2%}{image:>9.1%}{weight:>9.2f}{draw:>9.1%}")
    absent = [name for name, pixel in zip(names, pixels, strict=True) if not pixel]
    if absent:
        lines.append(f"in no mask, so nothing can be learned of: {', '.join(absent)}")
    return "\n".join(lines)
