"""Decoded and resized pairs, kept as bytes in one file: they are decoded once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from datasets.mask_counts import stat_pairs
from datasets.training.dataset import CocoSegmentationDataset, Resize
from runtime.files import replacing
from runtime.locks import locked

logger = logging.getLogger(__name__)

HEADER = 4096  # bytes before the rows: the key of what they were made from
FORMAT_VERSION = 1

Pair = tuple[Tensor, Tensor]


class CachedDataset(Dataset[Pair]):
    """The items of a dataset, from a file that holds them ready, mapped into memory.

    Items are new tensors each time: whoever changes one changes no other and not the cache. A
    worker process opens the file itself.

    Args:
        path: as ``cached`` wrote it.
        key: that its header must have.
        shape: (N, 4, S, S); an item's row is the image's R, G, B and the label map.
    """

    def __init__(self, path: Path, key: bytes, shape: tuple[int, ...]) -> None:
        self._made_of = path, key, shape
        with path.open("rb") as file:
            if file.read(HEADER) != key:
                raise ValueError(
                    f"{path}: another run has made this cache anew, of other data; start again"
                )
            self._rows = np.memmap(file, np.uint8, "r", HEADER, shape)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Pair:
        """(3, S, S) uint8 image and (S, S) uint8 label map."""
        row = torch.from_numpy(np.array(self._rows[index]))
        return row[:3], row[3]

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedDataset, self._made_of


def cache_path(masks_dir: Path, image_size: int, part: str = "") -> Path:
    """Where a folder's cache file belongs; ``part`` tells those of its splits apart."""
    return masks_dir / f".images_{part}{'_' if part else ''}{image_size}.cache"


def cached(dataset: CocoSegmentationDataset, path: Path, workers: int) -> Dataset[Pair]:
    """The same items as ``dataset``, decoded and resized once; shows a progress bar.

    The file is used as it is if it was made of the same files, labels and size. Of two processes
    that would fill it at once, the second waits and uses the first one's.

    Args:
        dataset: with the transform ``Resize``; what is random comes after the cache.
        path: of the file, see ``cache_path``.
        workers: threads that fill it; decoding and resizing leave Python's lock alone.

    Raises:
        ValueError: the transform is no ``Resize``, an item cannot be read, or the cache would not
            fit.
        OSError: the file cannot be written.
    """
    if not isinstance(dataset.transform, Resize):
        raise ValueError(
            f"a cache needs items of one size and without chance: the transform is "
            f"{dataset.transform}, expected Resize"
        )
    size = dataset.transform.image_size
    shape = (len(dataset), 4, size, size)
    key = _key(dataset, size)
    with locked(path.parent):
        if not _is_made_of(path, key, shape):
            _fill_file(dataset, path, key, shape, workers)
        return CachedDataset(path, key, shape)


def _fill_file(
    dataset: CocoSegmentationDataset,
    path: Path,
    key: bytes,
    shape: tuple[int, ...],
    workers: int,
) -> None:
    num_bytes = HEADER + int(np.prod(shape))
    logger.info("cache   %d images take %s MB of disk, %s", shape[0], _mb(num_bytes), path)
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{path.parent}: cannot be written to; use --cache none")
    free = shutil.disk_usage(path.parent).free
    if num_bytes > free:
        raise ValueError(
            f"--cache disk needs {_mb(num_bytes)} MB for {shape[0]:,} images of {shape[2]}x"
            f"{shape[3]}, but {path.parent} has only {_mb(free)} MB free; use --cache none"
        )
    # Written, not mapped: on a full disk a write is an error, but a mapped one kills the process.
    with (
        replacing(path, flush=True, writer=platform.node()) as temporary,
        temporary.open("wb") as file,
    ):
        descriptor = file.fileno()
        _write_at(path, descriptor, key, 0)

        def keep(index: int) -> None:
            row = torch.cat([item.reshape(-1) for item in dataset[index]]).numpy().tobytes()
            _write_at(path, descriptor, row, HEADER + index * len(row))

        for _ in _by_threads(keep, shape[0], workers):
            pass


def _write_at(path: Path, descriptor: int, data: bytes, offset: int) -> None:
    try:
        while data:
            written = os.pwrite(descriptor, data, offset)
            data, offset = data[written:], offset + written
    except OSError as error:
        text = f"{error.strerror}, so the cache stays unfilled; use --cache none"
        raise OSError(error.errno, text, str(path)) from error


def _by_threads(function: Callable[[int], None], count: int, workers: int) -> Iterator[None]:
    """Call it for each index below ``count``, with a progress bar; an error or Ctrl-C ends it."""

    def call_each() -> Generator[None, None, None]:
        with ThreadPoolExecutor(max(1, workers)) as pool:
            try:
                yield from pool.map(function, range(count))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    with closing(call_each()) as done:
        yield from tqdm(done, "caching", count, leave=False, unit=" images", disable=None)


def _is_made_of(path: Path, key: bytes, shape: tuple[int, ...]) -> bool:
    try:
        with path.open("rb") as file:
            same = file.read(HEADER) == key
        return same and path.stat().st_size == HEADER + int(np.prod(shape))
    except FileNotFoundError:
        return False


def _key(dataset: CocoSegmentationDataset, image_size: int) -> bytes:
    """HEADER bytes that differ if anything does that the rows depend on."""
    made_of = {
        "format_version": FORMAT_VERSION,
        "image_size": image_size,
        "values": dataset.label_mapping.values,
        "names": [(image.name, mask.name) for image, mask in dataset.pairs],
        "stats": stat_pairs(dataset.pairs).tolist(),
        "versions": [PIL.__version__, torch.__version__, torchvision.__version__],
    }
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return f"coco-unet image cache {FORMAT_VERSION} {digest}\n".encode().ljust(HEADER, b"\0")


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f}"
