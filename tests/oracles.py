"""Slow and obvious implementations to hold the real ones against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from datasets.labels import LabelSet


def annotation_region(annotation: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    """COCO.annToMask for one annotation, written out: (H, W) bool."""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    return coco_mask.decode(rle).astype(bool)


def drawable_parts(shape: Any) -> list[Any]:
    """A segmentation's polygons and encodings, however they are wrapped: each a segmentation."""
    if isinstance(shape, dict):
        return [shape]
    if all(isinstance(each, int | float) for each in shape):
        return [[shape]] if len(shape) >= 6 else []
    if all(isinstance(each, list) and len(each) == 2 for each in shape) and len(shape) > 2:
        return [[[n for point in shape for n in point]]]
    return [part for each in shape for part in drawable_parts(each)]


def paint_one_by_one(
    annotations: Sequence[Mapping[str, Any]],
    height: int,
    width: int,
    label_of: Mapping[int, int],
    label_set: LabelSet,
    overlap: str,
    crowd: str,
) -> np.ndarray:
    """The label map of an image, each annotation painted pixel by pixel on its own."""
    label_map = np.zeros((height, width), np.uint8)
    strength = np.full((height, width), -np.inf)  # of the claim that each pixel shows
    claimants = np.zeros((256, height, width), bool)
    crowds = np.zeros((height, width), bool)
    for annotation in annotations:
        label = label_of.get(annotation["category_id"], 0)
        if label == 0:
            continue
        region = annotation_region(annotation, height, width)
        if annotation.get("iscrowd") and crowd != "paint":
            crowds |= region
            continue
        claimants[label] |= region
        claim = 0.0  # "later" and "ignore": the last to come
        if overlap == "priority":
            claim = label_set.labels[label].priority
        elif overlap == "smaller":
            claim = -float(region.sum())
        wins = region & (claim >= strength)
        label_map[wins] = label
        strength[wins] = claim
    if overlap == "ignore":
        label_map[claimants.sum(axis=0) > 1] = 255
    if crowd == "ignore":
        label_map[crowds & ~claimants.any(axis=0)] = 255
    return label_map
