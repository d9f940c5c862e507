from pathlib import Path

import pytest

from datasets.pairs import find_pictures, pair_images_and_masks


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
    assert found.pairs == (
        (images / "b.JPG", masks / "b.png"),
        (images / "sub/a.jpeg", masks / "sub/a.PNG"),
        (images / "v1.2.png", masks / "v1.2.png"),
    )
    assert found.images_without_mask == (images / "alone.jpg",)
    assert found.masks_without_image == (masks / "sub/orphan.png",)


def test_same_name_in_another_folder_is_no_pair(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "x/a.jpg", "b.jpg")
    masks = touch(tmp_path / "masks", "a.png", "b.png")
    assert pair_images_and_masks(images, masks).pairs == ((images / "b.jpg", masks / "b.png"),)


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
        (["notes.txt"], ["a.png"], "images: holds no picture"),
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
