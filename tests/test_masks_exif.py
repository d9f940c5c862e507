"""Masks of photographs that carry an EXIF orientation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import box_polygon
from mask_command import edit, report, run
from oracles import annotation_region
from PIL import Image, ImageOps

from datasets.mask_files import read_mask

TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
POLYGON = [box_polygon(2, 3, 13, 9), [20, 2, 24, 2, 22, 15]]


def write(folder: Path, orientation: int, height: int, width: int, annotated: Any) -> None:
    """A photograph of (height, width) stored pixels, and its annotation for another size."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    (folder / "train2017").mkdir()
    Image.new("RGB", (width, height)).save(folder / "train2017" / "a.jpg", exif=exif)
    (folder / "annotations").mkdir()
    image = {"id": 1, "file_name": "a.jpg", "height": annotated[0], "width": annotated[1]}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": POLYGON}
    data = {"images": [image], "annotations": [annotation],
            "categories": [{"id": 1, "name": "person"}]}  # fmt: skip
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(data))


def upright_mask(folder: Path, orientation: int) -> np.ndarray:
    return np.asarray(
        Image.fromarray(read_mask(folder / "masks" / "a.png")).transpose(TURN[orientation])
    )


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_annotations_that_fit_only_upright_are_turned_to_the_stored_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], orientation: int
) -> None:
    write(tmp_path, orientation, 40, 30, (30, 40))
    assert run(tmp_path) == 0
    told = "annotated upright: 1 images, whose masks are turned to the stored pixels"
    assert told in capsys.readouterr().out
    expected = annotation_region({"segmentation": POLYGON}, 30, 40)
    assert np.array_equal(upright_mask(tmp_path, orientation), expected)
    with Image.open(tmp_path / "train2017" / "a.jpg") as photo:
        assert ImageOps.exif_transpose(photo).size == expected.shape[::-1]
    old = (tmp_path / "masks" / "a.png").stat().st_mtime_ns
    assert run(tmp_path) == 0
    assert "turned to the stored pixels" in capsys.readouterr().out
    assert (tmp_path / "masks" / "a.png").stat().st_mtime_ns == old
    assert report(tmp_path)["totals"]["turned_upright"] == 1


@pytest.mark.parametrize(
    ("orientation", "size"), [*((n, (30, 40)) for n in (2, 3, 4)), *((n, (30, 30)) for n in TURN)]
)
def test_where_both_views_fit_the_stored_pixels_are_taken_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, orientation: int, size: tuple[int, int]
) -> None:
    write(tmp_path, orientation, *size, size)
    assert run(tmp_path) == 0
    assert "1 images carry an EXIF orientation that keeps their size" in caplog.text
    expected = annotation_region({"segmentation": POLYGON}, *size)
    assert np.array_equal(read_mask(tmp_path / "masks" / "a.png"), expected)
    assert run(tmp_path, "--exif_upright") == 2  # other options
    caplog.clear()
    assert run(tmp_path, "--exif_upright", "--overwrite") == 0
    assert np.array_equal(upright_mask(tmp_path, orientation), expected)
    assert "EXIF" not in caplog.text


def test_annotations_that_fit_only_the_stored_pixels_are_not_turned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 6, 30, 40, (30, 40))
    assert run(tmp_path, "--exif_upright") == 0
    expected = annotation_region({"segmentation": POLYGON}, 30, 40)
    assert np.array_equal(read_mask(tmp_path / "masks" / "a.png"), expected)
    assert "EXIF" not in caplog.text


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("flags", [[], ["--exif_upright"]])
def test_a_tiff_is_as_pillow_turns_it(tmp_path: Path, orientation: int, flags: list[str]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    write(tmp_path, 1, 20, 30, (20, 30))
    stored = (30, 20) if orientation >= 5 else (20, 30)
    Image.new("RGB", stored[::-1]).save(tmp_path / "train2017" / "a.tif", exif=exif)
    edit(tmp_path, lambda data: data["images"][0].update(file_name="a.tif"))
    assert run(tmp_path, *flags) == 0
    with Image.open(tmp_path / "train2017" / "a.tif") as picture:
        picture.load()  # is upright from here on
        assert picture.size == (30, 20)
    expected = annotation_region({"segmentation": POLYGON}, 20, 30)
    assert np.array_equal(read_mask(tmp_path / "masks" / "a.png") == 1, expected)
    assert report(tmp_path)["totals"].get("exif_ignored", 0) == 0
