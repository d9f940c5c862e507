import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.images import find_pictures
from datasets.mask_checks import check_pairs
from datasets.pairs import Pairs, PathPairs, pair_images_and_masks, split_pairs


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_images_and_masks_pair_by_relative_path_whatever_the_suffix(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "b.JPG", "sub/a.jpeg", "v1.2.png", "alone.jpg")
    masks = touch(tmp_path / "masks", "b.png", "sub/a.PNG", "v1.2.png", "sub/orphan.png")
    found = pair_images_and_masks(images, masks)
    assert [*found.pairs] == [
        (images / "b.JPG", masks / "b.png"),
        (images / "sub/a.jpeg", masks / "sub/a.PNG"),
        (images / "v1.2.png", masks / "v1.2.png"),
    ]
    assert found.images_without_mask == (images / "alone.jpg",)
    assert found.masks_without_image == (masks / "sub/orphan.png",)


def test_same_name_in_another_folder_is_no_pair(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "x/a.jpg", "b.jpg")
    masks = touch(tmp_path / "masks", "a.png", "b.png")
    assert [*pair_images_and_masks(images, masks).pairs] == [(images / "b.jpg", masks / "b.png")]


def test_pairs_are_the_paths_they_were_made_of_and_take_few_bytes(tmp_path: Path) -> None:
    names = ["a b.jpg", "ü.JPG", "sub/c\udcff.tif", *(f"{number:012}.jpg" for number in range(997))]
    expected = [(tmp_path / name, (tmp_path / name).with_suffix(".png")) for name in names]
    pairs = PathPairs(tmp_path, tmp_path, expected)
    assert [*pairs] == [*pairs[:]] == expected and len(pairs) == len(expected)
    assert [*pairs[[2, 0]]] == [expected[2], expected[0]] and [*pairs[[]]] == []
    assert pairs[-1] == expected[-1] and [*pickle.loads(pickle.dumps(pairs[5:7]))] == expected[5:7]
    assert len(pickle.dumps(pairs)) < 50 * len(pairs)
    absolute = PathPairs(Path(), Path("m"), [(tmp_path / "a.jpg", Path("m/a.png"))])
    assert [*absolute] == [(tmp_path / "a.jpg", Path("m/a.png"))]


def test_other_files_and_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", ".b.123.tmp.png", "masks.json", "Thumbs.db", "c.TIFF")
    assert find_pictures(tmp_path) == [tmp_path / "a.png", tmp_path / "c.TIFF"]


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "a.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert find_pictures(tmp_path / "data") == [tmp_path / "data/link/a.png"]


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (["a.jpg"], ["b.png"], "images are named like 'a' and masks like 'b'"),
        (["a.jpg", "a.png"], ["a.png"], "a.jpg and .*a.png differ only in their suffix"),
        (["a.heic", "b.heic", "c.txt"], ["a.png"], "images: holds no picture .*, but 2 .heic"),
        (["a.jpg"], [], "masks: no such folder"),
    ],
)
def test_folders_that_do_not_fit_are_refused(
    tmp_path: Path, images: list[str], masks: list[str], message: str
) -> None:
    touch(tmp_path / "images", *images)
    touch(tmp_path / "masks", *masks)
    with pytest.raises(ValueError, match=message):
        pair_images_and_masks(tmp_path / "images", tmp_path / "masks")


def pairs_named(*names: str) -> Pairs:
    images, masks = Path("images"), Path("masks")
    paths = ((images / f"{name}.jpg", masks / f"{name}.png") for name in names)
    return Pairs(images, masks, PathPairs(images, masks, paths))


NAMES = [f"{number:012}" for number in range(400)]


def test_a_split_takes_its_share_and_loses_nothing() -> None:
    whole = pairs_named(*NAMES)
    train, val = split_pairs(whole, 0.25)
    assert sorted([*train.pairs, *val.pairs]) == list(whole.pairs)
    assert 70 <= len(val.pairs) <= 130


def test_adding_and_removing_files_moves_no_other_across() -> None:
    side = {
        pair: val for val in (0, 1) for pair in split_pairs(pairs_named(*NAMES), 0.3)[val].pairs
    }
    _, val = split_pairs(pairs_named(*NAMES[::2], "new", "sub/new"), 0.3)
    kept = [pair for pair in pairs_named(*NAMES[::2]).pairs if side[pair] == 1]
    assert [pair for pair in val.pairs if pair in side] == kept


def test_a_split_is_the_same_in_another_folder_and_with_another_suffix() -> None:
    images, masks = Path("/far/images"), Path("/far/masks")
    paths = ((images / f"{name}.PNG", masks / f"{name}.png") for name in NAMES)
    moved = PathPairs(images, masks, paths)
    here = split_pairs(pairs_named(*NAMES), 0.3)[1]
    there = split_pairs(Pairs(images, masks, moved), 0.3)[1]
    assert [image.stem for image, _ in there.pairs] == [image.stem for image, _ in here.pairs]
    # by `printf 000000000001 | sha256sum`: 27d6, 2a74, 4125, 3a2a are below 0.3 = 0x4ccc
    assert [int(image.stem) for image, _ in here.pairs][:4] == [1, 2, 4, 5]


def test_files_without_a_partner_go_to_the_side_of_their_name() -> None:
    whole = pairs_named(*NAMES)
    orphans = tuple(image for image, _ in whole.pairs), tuple(mask for _, mask in whole.pairs)
    for part in split_pairs(Pairs(whole.images_dir, whole.masks_dir, whole.pairs, *orphans), 0.3):
        assert part.images_without_mask == tuple(image for image, _ in part.pairs)
        assert part.masks_without_image == tuple(mask for _, mask in part.pairs)


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_no_side_of_a_split_is_empty(fraction: float) -> None:
    train, val = split_pairs(pairs_named("a", "b", "c"), fraction)
    assert sorted((len(train.pairs), len(val.pairs))) == [1, 2]


def test_one_pair_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="one pair cannot be split"):
        split_pairs(pairs_named("a"), 0.5)


NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.mark.parametrize(("suffix", "mode"), [("jpg", "RGB"), ("png", "RGB"), ("jpg", "L")])
def test_photographs_for_masks_are_refused_with_the_thought_of_swapped_folders(
    tmp_path: Path, suffix: str, mode: str
) -> None:
    photographs, label_maps = tmp_path / "photographs", tmp_path / "label_maps"
    for folder, pixels, end in ((photographs, NOISE, suffix), (label_maps, NOISE % 3, "png")):
        folder.mkdir()
        for name in "abc":
            Image.fromarray(pixels).convert(mode).save(folder / f"{name}.{end}")
    pairs = pair_images_and_masks(label_maps, photographs)
    with pytest.raises(ValueError, match=r"photographs: 3 masks .*swapped"):
        check_pairs(pairs, None, 1)


def test_a_folder_that_links_to_itself_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert find_pictures(tmp_path) == [tmp_path / "a.jpg"]


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def locked(path: str) -> Any:  # permissions do not bind root
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(ValueError, match="locked: this folder cannot be read"):
        find_pictures(tmp_path)
