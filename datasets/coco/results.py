"""Masks on disk -> COCO results, which pycocotools loads: a region for each label of each image.

    coco = COCO("predictions/results_dataset.json")
    results = coco.loadRes("predictions/results.json")

results.json has a list of {"image_id", "category_id", "segmentation": RLE, "score"};
results_dataset.json the images and categories that its ids mean. An image id is the
number that the file is named by, as COCO's are, if all files are named so, each by another; else
the place in the list, from 1. A category id is COCO's own where each label stands for one of
COCO's 80 categories, else the label index. The score is always 1: a label map ranks nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from datasets.labels import LabelSet
from datasets.mask_files import read_mask
from runtime.files import write_json, write_text
from runtime.workers import ordered_map

logger = logging.getLogger(__name__)

RESULTS_NAME = "results.json"
DATASET_NAME = "results_dataset.json"

COCO_IDS: dict[str, int] = json.loads(Path(__file__).with_name("category_ids.json").read_text())


def category_ids(label_set: LabelSet) -> list[int]:
    """The category id of each label index but the background's."""
    first = int(label_set.has_background)
    categories = [label.categories for label in label_set.labels[first:]]
    if all(len(names) == 1 and names[0] in COCO_IDS for names in categories):
        return [COCO_IDS[names[0]] for names in categories]
    return list(range(first, len(label_set)))


def image_ids(names: Sequence[str]) -> list[int]:
    """The image id of each file."""
    stems = [PurePosixPath(name).stem for name in names]
    if all(stem.isdecimal() and stem.isascii() and len(stem) <= 18 for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(names) + 1))


def write_coco_results(
    folder: Path, entries: Sequence[Mapping[str, Any]], label_set: LabelSet, workers: int
) -> None:
    """Write results.json and results_dataset.json of the masks in a prediction folder.

    Args:
        entries: of its files, as predictions.json has them; those without a mask do not count.
        workers: processes that encode.

    Raises:
        OSError, ValueError: a mask is gone or damaged, or a file cannot be written.
    """
    written = [entry for entry in entries if entry["status"] == "written"]
    ids = image_ids([entry["file"] for entry in written])
    images = [
        {"id": id, "file_name": entry["file"], "height": entry["height"], "width": entry["width"]}
        for id, entry in zip(ids, written, strict=True)
    ]
    numbers = category_ids(label_set)
    names = label_set.names[len(label_set) - len(numbers) :]
    categories = [
        {"id": id, "name": name, "supercategory": ""}
        for id, name in zip(numbers, names, strict=True)
    ]
    dataset = {"info": {}, "images": images, "annotations": [], "categories": categories}
    write_json(folder / DATASET_NAME, dataset)
    regions_of = partial(_regions_of, ids=numbers, first=len(label_set) - len(numbers))
    pairs = [(id, folder / entry["mask"]) for id, entry in zip(ids, written, strict=True)]
    each = ordered_map(regions_of, pairs, workers)
    rows = [json.dumps(region) for regions in each for region in regions]
    write_text(folder / RESULTS_NAME, "[" + ",\n".join(rows) + "]\n")
    if not rows:
        logger.warning(
            "%s is an empty list, since all is background; pycocotools cannot load it: loadRes "
            "raises an IndexError",
            folder / RESULTS_NAME,
        )


def _regions_of(pair: tuple[int, Path], ids: Sequence[int], first: int) -> list[dict[str, Any]]:
    image_id, path = pair
    label_map = read_mask(path)
    regions = []
    for label in np.unique(label_map[label_map >= first]).tolist():
        rle = coco_mask.encode(np.asfortranarray(label_map == label).view(np.uint8))
        rle["counts"] = rle["counts"].decode()
        category = {"image_id": image_id, "category_id": ids[label - first]}
        regions.append({**category, "segmentation": rle, "score": 1.0})
    return regions
