"""Decoded and resized pairs, kept as bytes in one file: they are decoded once."""

from __future__ import annotations

import hashlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from torch import Tensor
from torch.utils.data import Dataset

from datasets.inspection import stat_pairs
from datasets.training.dataset import CocoSegmentationDataset
from runtime.bar import Bar
from runtime.files import replacing
from runtime.locks import locked

logger = logging.getLogger(__name__)

HEADER = 4096  # bytes before the items: what they were made of, and how long the file is
FORMAT_VERSION = 3
AHEAD = 16  # items for each thread that are decoded before they are written

Pair = tuple[Tensor, Tensor]


class CachedDataset(Dataset[Pair]):
    """The items of a dataset, from a file that holds them ready, mapped into memory.

    Args:
        path: as ``cached`` wrote it: the header, the bytes of all items, and a table (N, 5) int64
            with the place of each item, height and width of its image and of its label map.
        key: that its header must begin with.
        count: N.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of other data, or damaged.
    """

    def __init__(self, path: Path, key: bytes, count: int) -> None:
        self._made_of = path, key, count
        with path.open("rb") as file:
            if file.read(HEADER) != _header(key, path.stat().st_size):
                raise ValueError(
                    f"{path}: another run has made this cache anew, of other data; start again"
                )
            self._bytes = np.memmap(file, np.uint8, "r")
        self._table = np.array(self._bytes[len(self._bytes) - 40 * count :]).view(np.int64)
        self._table = self._table.reshape(count, 5)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Pair:
        """(3, H, W) uint8 image, channels last in memory to be resized fast, and label map."""
        place, height, width, *size = self._table[index].tolist()
        end = place + 3 * height * width
        image, label_map = self._bytes[place:end], self._bytes[end : end + size[0] * size[1]]
        return (
            torch.from_numpy(np.array(image)).view(height, width, 3).permute(2, 0, 1),
            torch.from_numpy(np.array(label_map)).view(size),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedDataset, self._made_of


def cache_path(masks_dir: Path, view: object, part: str = "") -> Path:
    """Where a folder's cache file belongs; ``part`` tells those of its splits apart."""
    return masks_dir / f".images_{part}{'_' if part else ''}{view}.cache"


def cached(dataset: CocoSegmentationDataset, path: Path, workers: int) -> Dataset[Pair]:
    """The same items as ``dataset``, from a file that is made anew unless it is of the same data.

    Args:
        dataset: what is random comes after the cache.
        path: of the file, see ``cache_path``.
        workers: threads that fill it; decoding and resizing leave Python's lock alone.

    Raises:
        ValueError: an item cannot be read.
        OSError: the file cannot be written.
    """
    key = _key(dataset)
    try:
        with locked(path.with_suffix(".lock"), wait=True):
            with suppress(FileNotFoundError, ValueError):
                return CachedDataset(path, key, len(dataset))
            _fill(dataset, path, key, max(1, workers))
            return CachedDataset(path, key, len(dataset))
    except OSError as error:
        text = f"{error.strerror}, so the cache stays unfilled; use --cache none"
        raise OSError(error.errno, text, str(path)) from error


def _fill(dataset: CocoSegmentationDataset, path: Path, key: bytes, threads: int) -> None:
    table = np.zeros((len(dataset), 5), np.int64)
    # Written, not mapped: a full disk is an error of a write, but the end of a process that
    # writes to mapped memory.
    with (
        replacing(path, flush=True) as temporary,
        temporary.open("wb") as file,
        ThreadPoolExecutor(threads) as pool,
        Bar("caching", len(table), " images") as bar,
    ):
        file.seek(HEADER)
        for first in range(0, len(table), AHEAD * threads):  # bounds the memory
            rows = table[first : first + AHEAD * threads]
            items = pool.map(dataset.__getitem__, range(first, first + len(rows)))
            for row, (image, label_map) in zip(rows, items, strict=True):
                row[:] = file.tell(), *image.shape[1:], *label_map.shape
                file.write(image.permute(1, 2, 0).numpy().tobytes())
                file.write(label_map.numpy().tobytes())
                bar.advance(1)
        file.write(table.tobytes())
        size = file.tell()
        file.seek(0)
        file.write(_header(key, size))
    logger.info("cache   %d images take %s MB of disk, %s", len(table), f"{size / 1e6:,.0f}", path)


def _header(key: bytes, size: int) -> bytes:
    return (key + b"%d bytes\n" % size).ljust(HEADER, b"\0")


def _key(dataset: CocoSegmentationDataset) -> bytes:
    """Bytes that differ if anything does that the items depend on."""
    made_of = {
        "transform": repr((dataset.view, dataset.keep_labels)),
        "values": sorted(dataset.label_mapping.indices.items()),
        "by_color": dataset.label_mapping.by_color,
        "names": [(image.name, mask.name) for image, mask in dataset.pairs],
        "stats": stat_pairs(dataset.pairs),
        "versions": [PIL.__version__, torch.__version__, torchvision.__version__],
    }
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return f"coco-unet image cache {FORMAT_VERSION} {digest}\n".encode()
