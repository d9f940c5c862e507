"""Reading photos: what the network sees of every kind of file."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hostile_files import (
    HEIGHT,
    WIDTH,
    bad_files,
    encoded,
    exif,
    good_files,
    sixteen_bit_png,
    sixteen_bit_tiff,
)
from inference_command import noise
from PIL import Image

from datasets.predictions.photo_files import PhotoFile
from datasets.predictions.photos import Photo, read_photo, turn
from datasets.training.dataset import read_image

GOOD, BAD = good_files(), bad_files()

# What undoes each orientation, by the words of the EXIF standard.
UPRIGHT = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read(path: Path, content: bytes, **options: object) -> Photo:
    path.write_bytes(content)
    file = PhotoFile(path, path.name, path.stem, True)
    return read_photo(file, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", GOOD)
def test_odd_files_that_are_pictures_are_read(tmp_path: Path, name: str) -> None:
    photo = read(tmp_path / name.replace("/", "_"), GOOD[name])
    assert photo.problem == ""
    assert photo.image is not None
    assert (photo.image.shape, photo.image.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)


@pytest.mark.parametrize("name", BAD)
def test_files_that_cannot_be_read_say_why(tmp_path: Path, name: str) -> None:
    content, reason = BAD[name]
    photo = read(tmp_path / name, content)
    assert photo.image is None
    assert re.search(reason, photo.problem), photo.problem


@pytest.mark.parametrize(
    "name", sorted(set(GOOD) - {"turned.jpg", "turned.tiff", "broken exif.jpg"})
)
def test_the_pixels_are_those_that_training_reads(tmp_path: Path, name: str) -> None:
    path = tmp_path / name.replace("/", "_")
    photo = read(path, GOOD[name])
    assert np.array_equal(photo.image, read_image(path).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize(("mode", "format"), [("u2", "PNG"), ("u2", "TIFF"), ("i4", "TIFF")])
def test_gray_is_seen_alike_however_many_bits_it_fills(
    tmp_path: Path, bits: int, mode: str, format: str
) -> None:
    gray = np.arange(256, dtype=mode).reshape(16, 16)
    photo = read(tmp_path / "a", encoded(Image.fromarray(gray << (bits - 8)), format))
    assert photo.image is not None
    assert (photo.image == gray[..., None]).all()
    assert photo.remarks == ("more than 8 bits a pixel, scaled to 8",)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("form", ["PNG", "<", ">", "< deflate", "> deflate"])
def test_colours_are_seen_alike_however_many_bits_they_fill(
    tmp_path: Path, bits: int, channels: int, form: str
) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (9, 7, channels))
    colors[0, 0] = 255
    values = (colors << (bits - 8)) + np.arange(7)[:, None] % 2 ** (bits - 8)
    tiff = partial(sixteen_bit_tiff, values, form[0], form.endswith("deflate"))
    photo = read(tmp_path / "a", sixteen_bit_png(values) if form == "PNG" else tiff())
    assert np.array_equal(photo.image, colors[..., :3])
    assert photo.remarks == ("more than 8 bits a pixel, scaled to 8",)
    assert np.array_equal(photo.image, read_image(tmp_path / "a").permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        (np.array([[0, 0.5, 1]]), [0, 128, 255]),
        (np.array([[0, 0.1, 0.2]]), [0, 26, 51]),
        (np.array([[-1000, 0, 3000]]), [0, 64, 255]),
        (np.array([[0, 4095, np.nan]]), [0, 255, 0]),
        (np.array([[7, np.inf, 7]]), [0, 255, 0]),
        (np.array([[np.nan]]), [0]),
        (np.array([[-5, 0, 100_000]], np.int32), [0, 0, 255]),
    ],
)
def test_decimals_and_large_numbers_are_scaled_by_their_range(
    tmp_path: Path, values: np.ndarray, seen: list[int]
) -> None:
    kind = np.int32 if values.dtype.kind == "i" else np.float32
    photo = read(tmp_path / "a", encoded(Image.fromarray(values.astype(kind)), "TIFF"))
    assert photo.image is not None
    assert photo.image[0, :, 0].tolist() == seen


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_a_photo_is_turned_upright_or_left_as_stored(
    tmp_path: Path, orientation: int, format: str
) -> None:
    stored = noise(5, 8, 3)
    options = {"lossless": True} if format == "WEBP" else {}
    content = encoded(stored, format, exif=exif(orientation), **options)
    photo = read(tmp_path / "a", content)
    steps = UPRIGHT[orientation]
    upright = np.array(stored.transpose(steps) if steps is not None else stored)
    assert np.array_equal(photo.image, upright)
    assert photo.orientation == orientation
    raw = read(tmp_path / "a", content, exif=False)
    assert np.array_equal(raw.image, np.array(stored))
    assert raw.orientation == 1
    assert np.array_equal(turn(np.array(stored), orientation), upright)


def test_an_orientation_that_does_not_exist_is_none(tmp_path: Path) -> None:
    photo = read(tmp_path / "a", encoded(noise(5, 8, 3), "JPEG", exif=exif(99)))
    assert photo.image is not None
    assert (photo.image.shape, photo.orientation) == ((5, 8, 3), 1)


def test_what_is_seen_otherwise_than_it_is_stored_is_said(tmp_path: Path) -> None:
    deep = "more than 8 bits a pixel, scaled to 8"
    first = "the first picture of several in the file"
    assert {
        name: found for name in GOOD if (found := read(tmp_path / "a", GOOD[name]).remarks)
    } == {
        **dict.fromkeys(("16 bit gray.png", "16 bit colour.png", "16 bit.tiff"), (deep,)),
        **dict.fromkeys(("floats.tiff", "32 bit.tiff"), (deep,)),
        **dict.fromkeys(("pages.tiff", "moving.gif"), (first,)),
        "fourth band.tiff": ("a further band, no alpha, which is not seen",),
    }


def test_large_pictures_are_left_to_whoever_has_the_memory(tmp_path: Path) -> None:
    photo = read(tmp_path / "a", GOOD["plain.jpg"], most_pixels=HEIGHT * WIDTH - 1)
    assert (photo.image, photo.problem) == (None, "")
    assert read(tmp_path / "a", GOOD["plain.jpg"], most_pixels=HEIGHT * WIDTH).image is not None


def test_pictures_that_only_look_enormous_to_pillow_are_read(tmp_path: Path) -> None:
    white = Image.new("1", (12_000, 9_000), 1)  # 108 million pixels, of which Pillow warns
    photo = read(tmp_path / "a", encoded(white, "PNG"), most_pixels=1)
    assert (photo.image, photo.problem) == (None, "")


def test_folders_and_missing_files_are_no_photos(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "a folder"), (tmp_path / "nowhere", "no such file")):
        assert read_photo(PhotoFile(path, "x", "x", True)).problem == reason
