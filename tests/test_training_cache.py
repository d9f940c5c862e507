"""A cache gives the very items of the dataset, to every process, and knows when it is too old."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import resource
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pair_folders import MAPPING, mapping_of
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import datasets.training.cache
from datasets.label_mapping import LabelMapping
from datasets.training.cache import cache_path, cached
from datasets.training.dataset import CocoSegmentationDataset
from models.prediction import View

SIZE = 16


@pytest.fixture
def pairs(tmp_path: Path) -> list[tuple[Path, Path]]:
    """Six pairs of different sizes."""
    random, found = np.random.default_rng(0), []
    for number in range(6):
        image, mask = tmp_path / f"{number}.jpg", tmp_path / f"{number}.png"
        height, width = 20 + number, 30 - number
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(image)
        Image.fromarray(random.integers(0, 3, (height, width), np.uint8)).save(mask)
        found.append((image, mask))
    return found


@dataclass(frozen=True)
class Identity:
    def __call__(self, image: Tensor) -> Tensor:
        return image


def dataset_of(
    pairs: list[tuple[Path, Path]], size: int = SIZE, mapping: LabelMapping = MAPPING
) -> CocoSegmentationDataset:
    return CocoSegmentationDataset(pairs, mapping, View.of(size))


def fill(dataset: CocoSegmentationDataset, workers: int = 2) -> Dataset[Any]:
    return cached(dataset, cache_path(dataset.pairs[0][1].parent, dataset.view), workers)


def path_of(pairs: list[tuple[Path, Path]]) -> Path:
    return cache_path(pairs[0][0].parent, View.of(SIZE))


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices that were decoded."""
    indices: list[int] = []
    read = CocoSegmentationDataset.__getitem__

    def watched(self: CocoSegmentationDataset, index: int) -> Any:
        indices.append(index)
        return read(self, index)

    monkeypatch.setattr(CocoSegmentationDataset, "__getitem__", watched)
    return indices


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("size", [(16, 16), (9, 21), None])
def test_items_equal_the_uncached_ones(
    pairs: list[tuple[Path, Path]], size: tuple[int, int] | None, workers: int
) -> None:
    view = View.of(size) if size else Identity()  # as they are stored, all of other sizes
    plain = CocoSegmentationDataset(pairs, MAPPING, view)
    kept = fill(plain, workers)
    assert len(kept) == 6  # type: ignore[arg-type]
    for index in (0, 5, -1, 3):
        assert same(kept[index], plain[index])
        assert [item.dtype for item in kept[index]] == [torch.uint8, torch.uint8]
    with pytest.raises(IndexError):
        kept[6]


def test_every_pair_is_decoded_once(pairs: list[tuple[Path, Path]], decoded: list[int]) -> None:
    kept = fill(dataset_of(pairs))
    for _ in range(2):
        assert len([kept[index] for index in range(6)]) == 6
    assert sorted(decoded) == list(range(6))


@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_read_the_cache_however_they_are_started(
    pairs: list[tuple[Path, Path]], start: str
) -> None:
    plain = dataset_of(pairs)
    kept = fill(plain)
    for image, _ in pairs:
        image.unlink()  # nobody decodes it again
    loader = DataLoader(kept, 3, num_workers=1, multiprocessing_context=start)
    images, label_maps = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert same((images, label_maps), map(torch.stack, zip(*[kept[i] for i in range(6)])))  # noqa: B905


def test_changing_an_item_changes_no_other(pairs: list[tuple[Path, Path]]) -> None:
    kept = fill(dataset_of(pairs))
    before = [item.clone() for item in kept[2]]
    for item in kept[2]:
        item.zero_()
    assert same(kept[2], before)


def test_a_file_is_used_again(pairs: list[tuple[Path, Path]], decoded: list[int]) -> None:
    first = fill(dataset_of(pairs))
    decoded.clear()
    again = fill(dataset_of(pairs))
    assert decoded == []
    assert same(again[4], first[4])


@pytest.mark.parametrize("change", ["image", "mask", "order", "labels", "fewer", "cut", "foreign"])
def test_a_file_of_other_data_is_made_anew(
    pairs: list[tuple[Path, Path]], decoded: list[int], change: str
) -> None:
    fill(dataset_of(pairs))
    path, mapping = path_of(pairs), MAPPING
    if change == "image":
        Image.new("RGB", (29, 21), "red").save(pairs[1][0])
    elif change == "mask":
        Image.new("L", (29, 21), 2).save(pairs[1][1])
    elif change == "order":
        pairs = pairs[::-1]
    elif change == "labels":
        mapping = mapping_of(0, 2, 1)
    elif change == "fewer":
        pairs = pairs[:3]
    elif change == "cut":
        os.truncate(path, path.stat().st_size - 1)
    else:
        path.write_bytes(b"somebody's")
    plain = dataset_of(pairs, mapping=mapping)
    decoded.clear()
    kept = fill(plain)
    assert sorted(decoded) == list(range(len(pairs)))
    assert all(same(kept[index], plain[index]) for index in range(len(pairs)))


def test_files_are_told_apart_by_name_where_sizes_and_times_agree(
    tmp_path: Path, decoded: list[int]
) -> None:
    pairs = []
    for name, color in (("a", "red"), ("b", "blue")):
        image, mask = tmp_path / f"{name}.bmp", tmp_path / f"{name}.png"
        Image.new("RGB", (8, 8), color).save(image)
        Image.new("L", (8, 8)).save(mask)
        for path in (image, mask):
            os.utime(path, (1, 1))
        pairs.append((image, mask))
    fill(dataset_of(pairs))
    assert fill(dataset_of(pairs[::-1]))[0][0][:, 0, 0].tolist() == [0, 0, 255]
    assert len(decoded) == 4


def test_sizes_have_files_of_their_own(pairs: list[tuple[Path, Path]], decoded: list[int]) -> None:
    for size in (16, 8, 16, 8):
        assert fill(dataset_of(pairs, size))[0][0].shape == (3, size, size)
    assert len(decoded) == 12


def test_a_file_is_hidden_and_no_temporary_one_is_left(pairs: list[tuple[Path, Path]]) -> None:
    fill(dataset_of(pairs))
    names = {path.name for path in pairs[0][0].parent.iterdir()}
    assert names - {path.name for pair in pairs for path in pair} == {".images_16.cache"}
    for view, name in ((View(64, 64), "64"), (View(48, 64), "48x64")):
        path = cache_path(Path("masks"), view, "val")
        assert path == Path(f"masks/.images_val_{name}.cache")


def test_a_file_that_cannot_be_read_is_named_and_nothing_is_left(
    pairs: list[tuple[Path, Path]],
) -> None:
    pairs[3][0].write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"3\.jpg: cannot be read as an image"):
        fill(dataset_of(pairs))
    assert list(pairs[0][0].parent.glob(".*")) == []


def test_ctrl_c_leaves_the_old_file(
    pairs: list[tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(dataset_of(pairs))
    path = path_of(pairs)
    before = path.read_bytes()

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(CocoSegmentationDataset, "__getitem__", stopped)
    with pytest.raises(KeyboardInterrupt):
        fill(dataset_of(pairs[:4]))
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.glob(".*")] == [path.name]


def test_two_that_fill_it_at_once_decode_it_once(
    pairs: list[tuple[Path, Path]], decoded: list[int]
) -> None:
    plain = dataset_of(pairs)
    found: list[Dataset[Any]] = []
    threads = [threading.Thread(target=lambda: found.append(fill(plain))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(decoded) == list(range(6))
    assert same(found[0][5], found[1][5])


def test_workers_that_find_another_run_s_file_say_so(pairs: list[tuple[Path, Path]]) -> None:
    kept = fill(dataset_of(pairs))
    assert same(pickle.loads(pickle.dumps(kept))[1], kept[1])
    sent = pickle.dumps(kept)
    item = kept[1]
    fill(dataset_of(pairs[:2]))
    assert same(kept[1], item)  # the open file stays what it was
    with pytest.raises(ValueError, match="another run has made this cache anew"):
        pickle.loads(sent)


def test_the_size_is_said(pairs: list[tuple[Path, Path]], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fill(dataset_of(pairs, 256))
    assert f"cache   6 images take 2 MB of disk, {pairs[0][0].parent}" in caplog.text


def test_a_disk_that_fills_up_or_cannot_be_written_to_is_told_with_the_way_out(
    pairs: list[tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))  # as if the disk ended there
    try:
        with pytest.raises(OSError, match=r"too large, .*--cache none: .*\.images_16\.cache"):
            fill(dataset_of(pairs))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(pairs[0][0].parent.glob(".*")) == []

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(datasets.training.cache, "replacing", refused)
    with pytest.raises(PermissionError, match=r"Permission denied, .*use --cache none"):
        fill(dataset_of(pairs))


def test_a_folder_that_is_read_only_is_told_with_the_way_out(
    pairs: list[tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, **_: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(datasets.training.cache, "locked", refused)
    with pytest.raises(OSError, match=r"Read-only file system, .*use --cache none"):
        cached(dataset_of(pairs), pairs[0][0].parent / "cache", workers=1)
