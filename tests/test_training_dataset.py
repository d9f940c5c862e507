import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pair_folders import mapping_of
from PIL import Image
from torch.utils.data import DataLoader

from datasets.training.dataset import CocoSegmentationDataset, read_image
from models.prediction import View

MAPPING = mapping_of(0, 25)


def write_pair(folder: Path, height: int = 3, width: int = 5) -> tuple[Path, Path]:
    image, mask = folder / "a.png", folder / "a_mask.png"
    pixels = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    Image.fromarray(pixels).save(image)
    Image.fromarray(np.full((height, width), 25, np.uint8)).save(mask)
    return image, mask


def test_an_item_is_the_image_and_its_label_map(tmp_path: Path) -> None:
    dataset = CocoSegmentationDataset([write_pair(tmp_path)], MAPPING)
    image, label_map = dataset[0]
    assert len(dataset) == 1
    assert (image.shape, image.dtype) == ((3, 3, 5), torch.uint8)
    assert image[:, 1, 2].tolist() == [21, 22, 23]  # pixel 7 of a row-major count by threes
    assert label_map.tolist() == [[1] * 5] * 3
    assert label_map.dtype == torch.uint8


def test_workers_give_the_items_of_this_process(tmp_path: Path) -> None:
    dataset = CocoSegmentationDataset([write_pair(tmp_path)] * 3, MAPPING, View.of(4))
    here, there = (
        [torch.cat([x.flatten() for x in item]) for item in DataLoader(dataset, 2, num_workers=n)]
        for n in (0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


def test_a_mask_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    image, mask = write_pair(tmp_path)
    Image.fromarray(np.zeros((5, 3), np.uint8)).save(mask)
    with pytest.raises(ValueError, match=r"a\.png is 3x5 .* a_mask|a\.png is 3x5 .*mask.* is 5x3"):
        CocoSegmentationDataset([(image, mask)], MAPPING)[0]


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr"])
def test_every_8_bit_mode_is_read_as_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / {"CMYK": "x.tif", "YCbCr": "x.jpg"}.get(mode, "x.png")
    Image.new("RGB", (4, 2), (255, 255, 255)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (3, 2, 4)
    assert image.min() == 255


def test_a_transparent_palette_keeps_its_colours_without_a_warning(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(tmp_path / "x.png", transparency=b"\xff\x00")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "x.png")[:, 0, 0].tolist() == [10, 20, 30]


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer would turn it by 90 degrees
    Image.new("RGB", (4, 2)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == (3, 2, 4)


def test_files_that_are_no_images_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-500])
    for name in ("text.jpg", "cut.jpg", "absent.jpg"):
        with pytest.raises(ValueError, match=f"{name}: cannot be read as an image"):
            read_image(tmp_path / name)
