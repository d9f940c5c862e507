"""Tiny data that every test can have: a COCO-format dataset with one of each kind of annotation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 30, 40


def box_polygon(left: int, top: int, right: int, bottom: int) -> list[float]:
    """A rectangle's outline as COCO lists it; covers rows top..bottom-1, columns left..right-1."""
    return [left, top, right, top, right, bottom, left, bottom]


def uncompressed_rle(region: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run-length encoding, counted pixel by pixel down the columns."""
    counts, value, run = [], 0, 0
    for pixel in region.T.ravel().tolist():
        if pixel != value:
            counts.append(run)
            value, run = pixel, 0
        run += 1
    return {"size": list(region.shape), "counts": [*counts, run]}


def compressed_rle(region: np.ndarray) -> dict[str, Any]:
    """COCO's compressed run-length encoding, made by pycocotools."""
    rle = coco_mask.encode(np.asfortranarray(region, np.uint8))
    return {"size": list(region.shape), "counts": rle["counts"].decode()}


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """A region with one rectangle, in an image of HEIGHT x WIDTH."""
    region = np.zeros((HEIGHT, WIDTH), np.uint8)
    region[top:bottom, left:right] = 1
    return region


CATEGORIES = [
    {"id": 1, "name": "person"},
    {"id": 3, "name": "car"},
    {"id": 15, "name": "bench"},
    {"id": 44, "name": "bottle"},
    {"id": 53, "name": "apple"},
    {"id": 90, "name": "dragon"},  # in no group
]


def tiny_annotations() -> dict[str, Any]:
    """Three images: overlaps of every kind, both run-length encodings, and nothing at all."""
    images = [
        {"id": id, "file_name": f"{name}.jpg", "height": HEIGHT, "width": WIDTH}
        for id, name in ((1, "overlaps"), (2, "encodings"), (7, "empty"))
    ]
    rows: list[tuple[int, int, Any, int]] = [
        # image, category, segmentation, iscrowd
        (1, 1, [box_polygon(5, 5, 20, 20)], 0),
        (1, 3, [box_polygon(10, 10, 30, 25)], 0),  # later, but a person keeps the pixels
        (1, 53, [box_polygon(2, 22, 12, 29)], 0),
        (1, 44, [box_polygon(8, 24, 18, 29)], 0),  # same priority, later: wins
        (1, 90, [box_polygon(30, 0, 40, 10)], 0),
        (2, 15, [box_polygon(0, 0, 5, 5), box_polygon(3, 3, 9, 9)], 0),  # two parts
        (2, 3, compressed_rle(rectangle(20, 2, 30, 12)), 0),
        (2, 1, uncompressed_rle(rectangle(25, 8, 38, 28)), 1),  # a crowd
    ]
    annotations = [
        {
            "id": 100 + number,
            "image_id": image,
            "category_id": category,
            "segmentation": segmentation,
            "iscrowd": crowd,
            "bbox": [0, 0, 1, 1],
            "area": 1.0,
        }
        for number, (image, category, segmentation, crowd) in enumerate(rows)
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def write_coco(folder: Path, data: dict[str, Any], *, split: str = "train2017") -> Path:
    """Write images of noise and the annotation file; return the annotation file's path."""
    images_dir = folder / split
    images_dir.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    for image in data["images"]:
        path = images_dir / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = noise.integers(0, 256, (image["height"], image["width"], 3), np.uint8)
        Image.fromarray(pixels).save(path)
    annotations_file = folder / "annotations" / f"instances_{split}.json"
    annotations_file.parent.mkdir(exist_ok=True)
    annotations_file.write_text(json.dumps(data), encoding="utf-8")
    return annotations_file


@pytest.fixture
def tiny_coco(tmp_path: Path) -> Path:
    """A folder in the layout of COCO, with the split train2017 of three images."""
    write_coco(tmp_path, tiny_annotations())
    return tmp_path


@pytest.fixture(scope="session")
def coco_dir() -> Path:
    """The folder of real COCO data that the environment variable COCO_DIR names."""
    folder = os.environ.get("COCO_DIR")
    if not folder:
        pytest.skip("COCO_DIR is not set: point it at a folder with COCO 2017 to run this test")
    return Path(folder)
