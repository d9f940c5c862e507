"""Decoded and resized pairs, kept as bytes in memory or in one file: they are decoded once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from datasets.training.counts import stat_pairs
from datasets.training.dataset import CocoSegmentationDataset, Resize
from runtime.files import replacing
from runtime.locks import locked

logger = logging.getLogger(__name__)

KINDS = ("none", "ram", "disk")
HEADER = 4096  # bytes before the rows: the key of what they were made from
FORMAT_VERSION = 1

Pair = tuple[Tensor, Tensor]


class CachedDataset(Dataset[Pair]):
    """The items of a dataset, from rows that hold them ready.

    Items are new tensors each time: whoever changes one changes no other and not the cache.

    Args:
        source: the dataset that the rows were made of.
        row_of: index -> (4, S, S) uint8, a new tensor: the image's R, G, B and the label map.
    """

    def __init__(self, source: CocoSegmentationDataset, row_of: Callable[[int], Tensor]) -> None:
        self.pairs = source.pairs
        self.label_mapping = source.label_mapping
        self._row_of = row_of

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        """(3, S, S) uint8 image and (S, S) uint8 label map."""
        row = self._row_of(index)
        return row[:3], row[3]


class MemoryRows:
    """Rows in memory that this process and its workers share, however those were started.

    Args:
        rows: (N, 4, S, S) uint8, in shared memory.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __call__(self, index: int) -> Tensor:
        return self.rows[index].clone()


class FileRows:
    """Rows in a file, mapped into memory; a worker process opens the file itself.

    Args:
        path: as ``cached`` wrote it.
        key: that its header must have.
        shape: (N, 4, S, S).
    """

    def __init__(self, path: Path, key: bytes, shape: tuple[int, ...]) -> None:
        self.path, self.key, self.shape = path, key, shape
        with path.open("rb") as file:
            if file.read(HEADER) != key:
                raise ValueError(
                    f"{path}: another run has made this cache anew, of other data; start again"
                )
            self._rows = np.memmap(file, np.uint8, "r", HEADER, shape)

    def __call__(self, index: int) -> Tensor:
        return torch.from_numpy(np.array(self._rows[index]))

    def __reduce__(self) -> tuple[Any, ...]:
        return FileRows, (self.path, self.key, self.shape)


def cache_path(masks_dir: Path, image_size: int, part: str = "") -> Path:
    """Where a folder's cache file belongs; ``part`` tells those of its splits apart."""
    return masks_dir / f".images_{part}{'_' if part else ''}{image_size}.cache"


def cached(
    dataset: CocoSegmentationDataset, kind: str, path: Path | None, workers: int
) -> Dataset[Pair]:
    """The same items as ``dataset``, decoded and resized once; shows a progress bar.

    Args:
        dataset: with the transform ``Resize``; what is random comes after the cache.
        kind: "none" gives ``dataset`` itself. "ram" fills shared memory now. "disk" fills one
            file, or uses it as it is if it was made of the same files, labels and size; of two
            processes that would fill it at once, the second waits and uses the first one's.
        path: of the file, see ``cache_path``; only "disk" asks for one.
        workers: threads that fill it; decoding and resizing leave Python's lock alone.

    Raises:
        ValueError: the kind is unknown, the transform is no ``Resize``, an item cannot be read,
            or the cache would not fit.
        OSError: the file cannot be written.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown cache {kind!r}; known are {', '.join(KINDS)}")
    if kind == "none":
        return dataset
    if not isinstance(dataset.transform, Resize):
        raise ValueError(
            f"a cache needs items of one size and without chance: the transform is "
            f"{dataset.transform}, expected Resize"
        )
    size = dataset.transform.image_size
    shape = (len(dataset), 4, size, size)
    if kind == "ram":
        return CachedDataset(dataset, MemoryRows(_fill_memory(dataset, shape, workers)))
    if path is None:
        raise ValueError("a cache on disk needs the path of its file")
    key = _key(dataset, size)
    with locked(path.parent):
        if not _is_made_of(path, key, shape):
            _fill_file(dataset, path, key, shape, workers)
        return CachedDataset(dataset, FileRows(path, key, shape))


def _fill_memory(dataset: CocoSegmentationDataset, shape: tuple[int, ...], workers: int) -> Tensor:
    num_bytes = int(np.prod(shape))
    _say(dataset, num_bytes, "memory")
    free, where = _free_memory()
    if num_bytes > free:
        raise ValueError(
            f"--cache ram needs {_mb(num_bytes)} MB for {shape[0]:,} images of {shape[2]}x"
            f"{shape[3]}, but {where} has only {_mb(free)} MB free; use --cache disk or none"
        )
    rows = torch.empty(shape, dtype=torch.uint8)
    rows.share_memory_()  # type: ignore[no-untyped-call]

    def keep(index: int) -> None:
        image, label_map = dataset[index]
        rows[index, :3] = image
        rows[index, 3] = label_map

    for _ in _by_threads(keep, shape[0], workers):
        pass
    return rows


def _fill_file(
    dataset: CocoSegmentationDataset,
    path: Path,
    key: bytes,
    shape: tuple[int, ...],
    workers: int,
) -> None:
    num_bytes = HEADER + int(np.prod(shape))
    _say(dataset, num_bytes, f"disk, {path}")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{path.parent}: cannot be written to; use --cache ram or none")
    free = shutil.disk_usage(path.parent).free
    if num_bytes > free:
        raise ValueError(
            f"--cache disk needs {_mb(num_bytes)} MB for {shape[0]:,} images of {shape[2]}x"
            f"{shape[3]}, but {path.parent} has only {_mb(free)} MB free; use --cache ram or none"
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
        text = f"{error.strerror}, so the cache stays unfilled; use --cache ram or none"
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


def _free_memory() -> tuple[int, str]:
    """Bytes that shared memory can still take, and what limits them."""
    free = [(2**63, "the machine")]
    if Path("/dev/shm").is_dir():  # Linux; in a container often 64 MB
        free.append((shutil.disk_usage("/dev/shm").free, "/dev/shm"))
    with suppress(OSError, ValueError, KeyError):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        kilobytes = dict(line.split(":") for line in lines)["MemAvailable"].split()[0]
        free.append((int(kilobytes) * 1024, "the machine"))
    with suppress(OSError, ValueError):  # of a container; "max" without a limit
        limit, used = (Path("/sys/fs/cgroup", f"memory.{name}") for name in ("max", "current"))
        free.append((int(limit.read_text()) - int(used.read_text()), "this container"))
    return min(free)


def _say(dataset: CocoSegmentationDataset, num_bytes: int, where: str) -> None:
    logger.info("cache   %d images take %s MB of %s", len(dataset), _mb(num_bytes), where)


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f}"
