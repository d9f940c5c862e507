"""Files as annotation tools write them in COCO's format: key for key, with their peculiarities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HEIGHT, WIDTH, box_polygon, compressed_rle, rectangle, uncompressed_rle
from PIL import Image

import generate_masks
from datasets.mask_files import read_mask

ONE, TWO = rectangle(3, 4, 13, 14), rectangle(20, 10, 35, 25)
ONE_POLYGON = [float(value) for value in box_polygon(3, 4, 13, 14)]
TWO_POLYGON = [float(value) for value in box_polygon(20, 10, 35, 25)]


def cvat() -> dict[str, Any]:
    """CVAT, by datumaro: zeros for what it does not know, RLE marked as crowds, attributes."""
    common = {"attributes": {"occluded": False, "rotation": 0.0, "image_id": 99}}
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {
            "contributor": "", "date_created": "", "description": "", "url": "", "version": "",
            "year": "",
        },
        "categories": [
            {"id": 1, "name": "cat", "supercategory": ""},
            {"id": 2, "name": "dog", "supercategory": ""},
        ],
        "images": [
            {
                "id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "frames/frame_000000.PNG",
                "license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0,
            }
        ],
        "annotations": [
            {
                "id": 1, "image_id": 1, "category_id": 1, "segmentation": [ONE_POLYGON],
                "area": 100.0, "bbox": [3.0, 4.0, 10.0, 10.0], "iscrowd": 0, **common,
            },
            {
                "id": 2, "image_id": 1, "category_id": 2, "segmentation": uncompressed_rle(TWO),
                "area": 225.0, "bbox": [20.0, 10.0, 15.0, 15.0], "iscrowd": 1, **common,
            },
            {  # a rectangle of the annotator
                "id": 3, "image_id": 1, "category_id": 2, "segmentation": [], "area": 4.0,
                "bbox": [0.0, 0.0, 2.0, 2.0], "iscrowd": 0, **common,
            },
        ],
    }  # fmt: skip


def label_studio() -> dict[str, Any]:
    """Label Studio: ids from 0, categories without supercategory, ids of its config are texts."""
    return {
        "images": [
            {"width": WIDTH, "height": HEIGHT, "id": 0, "file_name": "images/3f-my%20photo.jpg"}
        ],
        "categories": [{"id": "0", "name": "cat"}, {"id": "1", "name": "dog"}],
        "annotations": [
            {
                "id": 0, "image_id": 0, "category_id": 0, "segmentation": [ONE_POLYGON],
                "bbox": [3.0, 4.0, 10.0, 10.0], "ignore": 0, "iscrowd": 0, "area": 100.0,
            },
            {
                "id": 1, "image_id": 0, "category_id": 1, "segmentation": [TWO_POLYGON],
                "bbox": [20.0, 10.0, 15.0, 15.0], "ignore": 0, "iscrowd": 0, "area": 225.0,
            },
            {
                "id": 2, "image_id": 0, "category_id": 1, "segmentation": [],
                "bbox": [0, 0, 2, 2], "ignore": 0, "iscrowd": 0, "area": 4,
            },
        ],
        "info": {
            "year": 2026, "version": "1.0", "description": "", "contributor": "Label Studio",
            "url": "", "date_created": "2026-01-01 10:00:00.000000",
        },
    }  # fmt: skip


def roboflow() -> dict[str, Any]:
    """Roboflow: a root category 0 that nothing uses, suffixes within file names."""
    return {
        "info": {
            "year": "2026", "version": "1", "description": "Exported from roboflow.com",
            "contributor": "", "url": "https://public.roboflow.com/object-detection/undefined",
            "date_created": "2026-01-01T10:00:00+00:00",
        },
        "licenses": [{"id": 1, "url": "", "name": "CC BY 4.0"}],
        "categories": [
            {"id": 0, "name": "animals", "supercategory": "none"},
            {"id": 1, "name": "cat", "supercategory": "animals"},
            {"id": 2, "name": "dog", "supercategory": "animals"},
        ],
        "images": [
            {
                "id": 0, "license": 1, "file_name": "IMG_1_JPG.rf.0a1b2c3d.jpg", "height": HEIGHT,
                "width": WIDTH, "date_captured": "2026-01-01T10:00:00+00:00",
                "extra": {"name": "IMG_1.JPG"},
            }
        ],
        "annotations": [
            {
                "id": 0, "image_id": 0, "category_id": 1, "bbox": [3, 4, 10, 10], "area": 100,
                "segmentation": [ONE_POLYGON], "iscrowd": 0,
            },
            {
                "id": 1, "image_id": 0, "category_id": 2, "bbox": [20, 10, 15, 15], "area": 225,
                "segmentation": compressed_rle(TWO), "iscrowd": 0,
            },
        ],
    }  # fmt: skip


def via() -> dict[str, Any]:
    """VGG Image Annotator 2: polygons not in a list, image ids as texts in one of the lists."""
    return {
        "info": {"year": 2026, "version": "1", "description": "Exported using VGG Image Annotator"},
        "licenses": [{"id": 0, "name": "Unknown License", "url": ""}],
        "images": [
            {
                "id": 0, "width": WIDTH, "height": HEIGHT, "file_name": "photo.JPEG", "license": 0,
                "flickr_url": "photo.JPEG", "coco_url": "photo.JPEG", "date_captured": "",
            }
        ],
        "annotations": [
            {
                "segmentation": ONE_POLYGON, "area": 100, "bbox": [3, 4, 10, 10], "iscrowd": 0,
                "id": 1, "image_id": "0", "category_id": 1,
            },
            {
                "segmentation": TWO_POLYGON, "area": 225, "bbox": [20, 10, 15, 15], "iscrowd": 0,
                "id": 2, "image_id": "0", "category_id": 2,
            },
        ],
        "categories": [
            {"supercategory": "animal", "id": 1, "name": "cat"},
            {"supercategory": "animal", "id": 2, "name": "dog"},
        ],
    }  # fmt: skip


def labelme2coco() -> dict[str, Any]:
    """labelme's converters: a background category 0, "type", ids from 0, folders in file_name."""
    return {
        "info": {"description": None, "url": None, "version": None, "year": 2026,
                 "contributor": None, "date_created": "2026-01-01 10:00:00.000000"},
        "licenses": [{"url": None, "id": 0, "name": None}],
        "images": [
            {
                "license": 0, "url": None, "file_name": "JPEGImages\\photo.jpg", "height": HEIGHT,
                "width": WIDTH, "date_captured": None, "id": 0,
            }
        ],
        "type": "instances",
        "annotations": [
            {
                "id": 0, "image_id": 0, "category_id": 1, "segmentation": [ONE_POLYGON],
                "area": 100.0, "bbox": [3.0, 4.0, 10.0, 10.0], "iscrowd": 0,
            },
            {
                "id": 1, "image_id": 0, "category_id": 2, "segmentation": [TWO_POLYGON],
                "area": 225.0, "bbox": [20.0, 10.0, 15.0, 15.0], "iscrowd": 0,
            },
        ],
        "categories": [
            {"supercategory": None, "id": 0, "name": "background"},
            {"supercategory": None, "id": 1, "name": "cat"},
            {"supercategory": None, "id": 2, "name": "dog"},
        ],
    }  # fmt: skip


def minimal() -> dict[str, Any]:
    """The least that pycocotools decodes, with gaps in the ids and texts in one list."""
    return {
        "images": [{"id": "7", "file_name": "photo.webp", "height": HEIGHT, "width": WIDTH}],
        "annotations": [
            {"image_id": 7, "category_id": 10, "segmentation": [ONE_POLYGON]},
            {"image_id": 7.0, "category_id": "300", "segmentation": compressed_rle(TWO)},
        ],
        "categories": [{"id": 300, "name": "dog"}, {"id": "10", "name": "cat"}],
    }


# tool: (file, image on disk, its mask, index of cat and dog, annotations that are boxes alone)
EXPORTS = {
    "CVAT": (cvat, "frames/frame_000000.PNG", "frames/frame_000000.png", (1, 2), 1),
    "Label Studio": (
        label_studio,
        "images/3f-my photo.jpg",
        "images/3f-my photo.png",
        (1, 2),
        1,
    ),
    "Roboflow": (roboflow, "IMG_1_JPG.rf.0a1b2c3d.jpg", "IMG_1_JPG.rf.0a1b2c3d.png", (2, 3), 0),
    "VIA": (via, "photo.JPEG", "photo.png", (1, 2), 0),
    "labelme2coco": (labelme2coco, "JPEGImages/photo.jpg", "JPEGImages/photo.png", (1, 2), 0),
    "minimal": (minimal, "photo.webp", "photo.png", (1, 2), 0),
}


def make(folder: Path, tool: str, *flags: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Run the command on a tool's file; the mask and the report."""
    data, image, mask, _, _ = EXPORTS[tool]
    (folder / "photos" / image).parent.mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "photos" / image)
    (folder / "export.json").write_text(json.dumps(data()))
    command = ["--images_dir", str(folder / "photos"), "--output_dir", str(folder / "masks")]
    command += ["--annotations_file", str(folder / "export.json"), "--workers", "1", *flags]
    assert generate_masks.main(command) == 0
    report = json.loads((folder / "masks" / "masks.json").read_text())
    return read_mask(folder / "masks" / mask), report


@pytest.mark.parametrize("tool", EXPORTS)
def test_the_file_gives_one_label_a_category(tmp_path: Path, tool: str) -> None:
    label_map, report = make(tmp_path, tool, "--no_grouping")
    _, _, _, (cat, dog), boxes = EXPORTS[tool]
    assert np.array_equal(label_map, ONE * np.uint8(cat) + TWO * np.uint8(dog))
    names = [label["name"] for label in report["label_set"]["labels"]]
    assert (names[cat], names[dog]) == ("cat", "dog")
    skipped = report["skipped_annotations"]["by_reason"]
    assert skipped == ({"box without segmentation": boxes} if boxes else {})
    assert report["file_remarks"] == {} and report["skipped_images"]["count"] == 0
    assert report["totals"]["crowds"] == (tool == "CVAT")


@pytest.mark.parametrize("tool", EXPORTS)
def test_the_file_gives_groups_and_objects(tmp_path: Path, tool: str) -> None:
    label_map, _ = make(tmp_path, tool, "--binary")
    assert np.array_equal(label_map, ONE | TWO)
    label_map, _ = make(tmp_path / "again", tool)
    assert np.array_equal(label_map, ONE | TWO)  # cats and dogs are living


@pytest.mark.parametrize("tool", EXPORTS)
def test_a_label_set_written_from_the_file_works_with_it(tmp_path: Path, tool: str) -> None:
    one, _ = make(tmp_path, tool, "--no_grouping")
    path = str(tmp_path / "mine.json")
    common = ["--images_dir", str(tmp_path / "photos"), "--output_dir", str(tmp_path / "again")]
    common += ["--annotations_file", str(tmp_path / "export.json"), "--workers", "1"]
    assert generate_masks.main([*common, "--write_label_set", path]) == 0
    assert generate_masks.main([*common, "--label_set", path]) == 0
    assert np.array_equal(read_mask(tmp_path / "again" / EXPORTS[tool][2]), one)
