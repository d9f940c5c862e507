"""Where images are, where masks go, and what an image's header says."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from datasets.coco.image_files import (
    LEADS_OUT,
    ImageProblem,
    find_image_file,
    find_image_files,
    read_orientation,
)
from datasets.coco.records import ImageEntry

ENTRY = ImageEntry(1, "a.jpg", height=3, width=4)


def picture(path: Path, height: int = 3, width: int = 4, orientation: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    ("file_name", "on_disk", "mask"),
    [
        ("a.jpg", "a.jpg", "a.png"),
        ("a.PNG", "a.PNG", "a.png"),
        ("a.b.jpeg", "a.b.jpeg", "a.b.png"),
        ("./a.jpg", "a.jpg", "a.png"),
        ("train/x/a.jpg", "train/x/a.jpg", "train/x/a.png"),
        ("train\\a.jpg", "train/a.jpg", "train/a.png"),
        ("a%20b.jpg", "a b.jpg", "a b.png"),
        ("a%20b.jpg", "a%20b.jpg", "a%20b.png"),
        ("caf%C3%A9/100%25.jpg", "caf\u00e9/100%.jpg", "caf\u00e9/100%.png"),
        ("100%.jpg", "100%.jpg", "100%.png"),
        ("a..jpg", "a..jpg", "a..png"),
        ("..a.jpg", "..a.jpg", "..a.png"),
    ],
)
def test_a_mask_has_the_folders_and_name_of_its_image(
    tmp_path: Path, file_name: str, on_disk: str, mask: str
) -> None:
    picture(tmp_path / on_disk)
    found = find_image_file(tmp_path, file_name)
    assert found.image is not None and found.image.samefile(tmp_path / on_disk)
    assert str(found.mask) == mask


@pytest.mark.parametrize("file_name", ["a.jpg", "x/a.jpg", "a", "a%20b.jpg", "x" * 5000 + ".jpg"])
def test_a_missing_image_still_has_a_place_for_its_mask(tmp_path: Path, file_name: str) -> None:
    found = find_image_file(tmp_path, file_name)
    assert found.image is None
    assert str(found.mask) == str(Path(file_name).with_suffix(".png"))


@pytest.mark.parametrize(
    "file_name",
    [
        "../a.jpg", "x/../../a.jpg", "x/../a.jpg", "..", "/etc/a.jpg", "//host/a.jpg", "\\a.jpg",
        "..\\a.jpg", "x\\..\\..\\a.jpg", "C:\\a.jpg", "C:a.jpg", "c:/a.jpg", "a\0.jpg", "\0", ".",
        "/", "%2e%2e/a.jpg", "..%2fa.jpg", "%2Fetc%2Fa.jpg", "a%00.jpg", "C%3A/a.jpg",
    ],
)  # fmt: skip
def test_a_name_that_leads_out_of_the_folder_has_no_image_and_ends_nothing(
    tmp_path: Path, file_name: str
) -> None:
    images = [ENTRY, ImageEntry(2, file_name, 3, 4), ImageEntry(3, "../a.jpg", 3, 4)]
    files = find_image_files(tmp_path, images)
    assert [file.problem for file in files] == ["image file is missing", LEADS_OUT, LEADS_OUT]


@pytest.mark.parametrize(
    ("file_name", "on_disk"),
    [
        ("a.jpg", "a.JPG"), ("a.PNG", "a.png"), ("x/a.jpg", "x/a.Jpg"),
        ("caf\u00e9/a.jpg", "cafe\u0301/a.JPG"), ("cafe\u0301/\u00e9.jpg", "caf\u00e9/e\u0301.jpg"),
        ("https://x.com/o/photos%2Fa.jpg?alt=media", "photos/a.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"), ("cafe\u0301.JPG", "caf\u00e9.jpg"),
        ("http://images.cocodataset.org/train2017/a.jpg", "a.jpg"),
        ("https://host:8/x/train2017/a.jpg?alt=media#x", "train2017/a.jpg"),
        ("https://host/a%20b.jpg", "a b.jpg"), ("s3://bucket/a.jpg", "a.jpg"),
        ("{folder}/x/a.jpg", "x/a.jpg"), ("file://{folder}/a.jpg", "a.jpg"),
    ],
)  # fmt: skip
def test_the_one_file_that_fits_a_name_is_found(
    tmp_path: Path, file_name: str, on_disk: str
) -> None:
    picture(tmp_path / on_disk)
    found = find_image_file(tmp_path, file_name.format(folder=tmp_path))
    assert found.image == tmp_path / on_disk
    assert found.mask == PurePosixPath(on_disk).with_suffix(".png")


@pytest.mark.parametrize(
    ("file_name", "there", "words"),
    [
        ("b.jpeg", ["b.jpg"], "the nearest names there are 'b.jpg'"),
        ("c.jpg", ["C.jpg"], "the nearest names there are 'C.jpg'"),
        ("a.jpg", ["a.JPG", "a.Jpg"], "the nearest names there are 'a.JPG', 'a.Jpg'"),
        ("train2017/a.jpg", ["a.jpg"], "the nearest names there are 'a.jpg'"),
        ("C:\\x\\a.jpg", ["a.jpg"], "without '..'; the nearest names there are 'a.jpg'"),
        ("/data/local-files/?d=x/a.jpg", ["a.jpg"], "the nearest names there are 'a.jpg'"),
        ("https://x.com/o/photos%2Fa.jpg?alt=media", ["a.jpg"],
         "a URL, of which 'photos/a.jpg' is not there; the nearest names there are 'a.jpg'"),
        ("https://host/b.jpeg", ["b.jpg"], "is a URL, of which 'b.jpeg' is not there"),
    ],
)  # fmt: skip
def test_where_none_or_several_fit_the_nearest_are_told(
    tmp_path: Path, file_name: str, there: list[str], words: str
) -> None:
    for name in there:
        picture(tmp_path / name)
    found = find_image_file(tmp_path, file_name)
    assert found.image is None and words in found.detail


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.jpg", "a.png"), ("a.jpg", "a.JPG"), ("x/a.jpg", "x//a.png"), ("a.jpg", "./a.jpg"),
        ("x/a.jpg", "x\\a.jpg"), ("a.jpg", "a"), ("a.jpg", "a.jpg"),
    ],
)  # fmt: skip
def test_two_images_of_one_mask_are_an_error_by_name(tmp_path: Path, one: str, other: str) -> None:
    images = [ImageEntry(1, one, 3, 4), ImageEntry(2, "b.jpg", 3, 4), ImageEntry(3, other, 3, 4)]
    with pytest.raises(ValueError, match=r"would both have the mask '(x/)?a\.png'") as error:
        find_image_files(tmp_path, images)
    assert f"{one!r} (id 1)" in str(error.value) and f"{other!r} (id 3)" in str(error.value)


def test_a_percent_encoded_and_a_plain_name_of_one_file_collide(tmp_path: Path) -> None:
    picture(tmp_path / "a b.jpg")
    images = [ImageEntry(1, "a b.jpg", 3, 4), ImageEntry(2, "a%20b.jpg", 3, 4)]
    with pytest.raises(ValueError, match=r"both have the mask 'a b\.png'"):
        find_image_files(tmp_path, images)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
def test_a_header_with_the_annotated_size_is_right(tmp_path: Path, suffix: str) -> None:
    assert read_orientation(picture(tmp_path / f"a{suffix}"), ENTRY) == (1, 1)


@pytest.mark.parametrize(("height", "width"), [(4, 3), (3, 5), (2, 4)])
def test_another_size_is_told(tmp_path: Path, height: int, width: int) -> None:
    path = picture(tmp_path / "a.jpg", height, width)
    with pytest.raises(ImageProblem, match="image file has another size than its annot") as found:
        read_orientation(path, ENTRY)
    assert found.value.detail == f"it is {width} x {height}, annotated are 4 x 3"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stored_turned_is_told_apart_from_another_size(
    tmp_path: Path, orientation: int
) -> None:
    path = picture(tmp_path / "a.jpg", height=4, width=3, orientation=orientation)
    if orientation >= 5:
        assert read_orientation(path, ENTRY) == (orientation, orientation)
    else:
        with pytest.raises(ImageProblem, match="another size"):
            read_orientation(path, ENTRY)
    as_stored = ImageEntry(1, "a.jpg", 4, 3)
    fits = 1 if orientation >= 5 else orientation
    square = picture(tmp_path / "b.jpg", 4, 4, orientation=orientation)
    as_both = ImageEntry(1, "b.jpg", 4, 4)
    for upright in (False, True):
        assert read_orientation(path, as_stored, upright) == (fits, fits if upright else 1)
        expected = (orientation, orientation if upright else 1)
        assert read_orientation(square, as_both, upright) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"hello world", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n\0\0\0\x05IHDR\0\0\0\0\0\0\0\0\0\0",  # Pillow: ValueError
        b"P6\n4x 3\n255\n",  # Pillow: ValueError
        b"DDS " + b"\x7c\0\0\0" + b"\0" * 120,  # Pillow: NotImplementedError
        b"BM" + b"\0" * 60,
    ],
)  # fmt: skip
def test_what_is_no_picture_is_told_and_raises_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageProblem, match="image file is not a picture that can be read"):
        read_orientation(path, ENTRY)


def test_odd_tags_are_told_with_the_file_and_not_by_pillow(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0not really a tiff")
    with warnings.catch_warnings(record=True) as shown, pytest.raises(ImageProblem) as error:
        warnings.simplefilter("always")
        read_orientation(tmp_path / "a.tif", ENTRY)
    assert not shown and "or damaged" in error.value.detail


@pytest.mark.parametrize("kind", ["folder", "link to nothing", "link to itself", "pipe"])
def test_what_has_the_name_but_is_no_file_is_not_missing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.jpg"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "link to itself" else tmp_path / "nothing")
    found = find_image_file(tmp_path, "a.jpg")
    assert found.image is None and "a folder, a link to nothing" in found.problem


def test_a_header_cut_at_any_byte_raises_nothing(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png"):
        path = picture(tmp_path / f"a{suffix}", orientation=6)
        whole = path.read_bytes()
        for size in range(0, len(whole), 3):
            path.write_bytes(whole[:size])
            with suppress(ImageProblem):
                read_orientation(path, ENTRY)


def test_only_the_header_is_read(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 500, 700)
    path.write_bytes(path.read_bytes()[:60])
    assert read_orientation(path, ImageEntry(1, "a.png", 500, 700)) == (1, 1)


def test_a_file_that_may_not_be_read_is_told_with_the_systems_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(ImageProblem, match=r"image file cannot be read \(Permission denied\)"):
        read_orientation(tmp_path / "a.jpg", ENTRY)
