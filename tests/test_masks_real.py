"""Every mask of the real photographs that COCO_DIR holds, against annToMask painted one by one.

The suite takes each label set as it comes. All choices of overlaps and crowds take some minutes:

    COCO_DIR=... python -m pytest tests/test_masks_real.py -m "slow or not slow"
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import paint_one_by_one

import generate_masks
from datasets.label_sets import GROUPS, VOC, binary_label_set, category_label_set
from datasets.labels import LabelSet
from datasets.mask_files import read_mask
from datasets.masks.painting import CROWD_RULES, OVERLAP_RULES

MODES: dict[str, Any] = {  # flags, label set of the categories' names, overlap rule by default
    "grouped": ([], lambda names: GROUPS, "priority"),
    "binary": (["--binary"], binary_label_set, "later"),
    "no_grouping": (["--no_grouping"], category_label_set, "later"),
    "voc": (["--label_set", "voc"], lambda names: VOC, "later"),
}
CHOICES = [
    pytest.param(mode, overlap, crowd, marks=pytest.mark.slow)
    if (overlap, crowd) != (default, "paint")
    else (mode, overlap, crowd)
    for (mode, (_, _, default)), overlap, crowd in itertools.product(
        MODES.items(), OVERLAP_RULES, CROWD_RULES
    )
    if overlap != "priority" or mode == "grouped"
]


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("mode", "overlap", "crowd"), CHOICES)
def test_every_mask_equals_ann_to_mask_painted_one_by_one(
    coco_dir: Path, tmp_path: Path, split: str, mode: str, overlap: str, crowd: str
) -> None:
    flags, make_label_set, default = MODES[mode]
    annotations_file = coco_dir / "annotations" / f"instances_{split}2017.json"
    if annotations_file.stat().st_size > 50e6:
        pytest.skip("COCO_DIR holds the whole dataset; this test is for a subset")
    data = json.loads(annotations_file.read_text())
    command = ["--images_dir", coco_dir / f"{split}2017", "--annotations_file", annotations_file]
    command += ["--output_dir", tmp_path / "masks", "--crowd", crowd, *flags]
    command += [] if overlap == default else ["--overlap", overlap]
    assert generate_masks.main([str(part) for part in command]) == 0

    categories = {c["id"]: c["name"] for c in sorted(data["categories"], key=lambda c: c["id"])}
    label_set: LabelSet = make_label_set(categories.values())
    label_of = {id: label_set.index_by_category.get(name, 0) for id, name in categories.items()}
    by_image: dict[int, list[Any]] = {image["id"]: [] for image in data["images"]}
    for annotation in data["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    for image in data["images"]:
        height, width = image["height"], image["width"]
        mask = read_mask((tmp_path / "masks" / image["file_name"]).with_suffix(".png"))
        expected = paint_one_by_one(
            by_image[image["id"]], height, width, label_of, label_set, overlap, crowd
        )
        assert np.array_equal(mask, expected), image["file_name"]
    assert len(list((tmp_path / "masks").glob("*.png"))) == len(data["images"])
