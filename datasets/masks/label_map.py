"""One image's annotations, as JSON text -> its label map, and an account of every one of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from datasets.coco.annotations import SOURCE_KEY
from datasets.coco.records import (
    NO_SEGMENTATION,
    Id,
    ImageEntry,
    kind_without_outline,
    normal_id,
    printable,
)
from datasets.coco.segmentations import (
    Polygon,
    SegmentationError,
    check_segmentation,
    even_odd,
    has_holes,
    rasterise,
    runs_of,
)
from datasets.labels import IGNORE_INDEX, LabelSet
from datasets.masks.account import MAX_LISTED_OF_IMAGE, Account
from datasets.masks.painting import Painting, Region, paint

MOST_OF_A_UNIT = 4  # pixels that a polygon with coordinates from 0 to 1 can leave
DRAWING_VERSION = 1  # raised when equal input no longer gives equal masks


@dataclass(frozen=True)
class Rules:
    """What decides the pixels of a mask, beside the annotations."""

    label_set: LabelSet
    categories: tuple[Mapping[Id, str], ...]  # id -> name, of each annotation file
    overlap: str  # one of painting.OVERLAP_RULES
    crowd: str  # one of painting.CROWD_RULES
    cut_holes: bool = False  # even-odd; else any polygon adds its pixels, as COCO has it

    def digest(self, image: ImageEntry, annotations: Sequence[bytes]) -> str:
        """A fingerprint of everything that an image's label map depends on."""
        digest = hashlib.sha256(self._head)
        digest.update(f"{image.height}x{image.width}".encode())
        for text in annotations:
            digest.update(b"\0" + text)
        return digest.hexdigest()[:32]

    @cached_property
    def meaning(self) -> str:
        """A fingerprint of the label set and the rules, whatever the image."""
        return hashlib.sha256(json.dumps(self._options).encode()).hexdigest()[:8]

    @cached_property
    def _head(self) -> bytes:
        categories = [[[str(id), name] for id, name in ids.items()] for ids in self.categories]
        return json.dumps([DRAWING_VERSION, [*self._options, *categories]]).encode()

    @property
    def _options(self) -> list[Any]:
        holes = ["cut"] if self.cut_holes else []
        return [self.label_set.to_dict(), self.overlap, self.crowd, *holes]


def draw_label_map(
    image: ImageEntry, annotations: Sequence[bytes], rules: Rules
) -> tuple[npt.NDArray[np.uint8], Account]:
    """Draw the label map of one image.

    A bad annotation is left out alone, and stands in the account with its reason.

    Args:
        annotations: the JSON text of each, in the file's order.

    Returns:
        (H, W) uint8 label indices, 255 = ignored; and the account.
    """
    account = Account(images=1, totals=Counter(annotations=len(annotations), crowds=0))
    indices = rules.label_set.index_by_category
    vetted = (_vet(text, image, rules, indices, account) for text in annotations)
    regions = [region for region in vetted if region]
    _rasterise(regions, image, rules.cut_holes, account)
    # What is ignored is below every label of a priority over 0.
    priorities = dict(enumerate(label.priority or 0.0 for label in rules.label_set.labels))
    painting = paint(
        regions,
        image.height,
        image.width,
        overlap=rules.overlap,
        crowd=rules.crowd,
        priorities={IGNORE_INDEX: 0.0, **priorities},
    )
    _add_painting(account, painting, regions)
    for skips in (account.skipped_annotations, account.dropped_polygons):
        del skips.items[MAX_LISTED_OF_IMAGE:]
    return painting.label_map, account


def _vet(
    text: bytes, image: ImageEntry, rules: Rules, indices: Mapping[str, int], account: Account
) -> Region | None:
    """The annotation as something to draw; None, and a line in the account, if there is nothing."""
    name = "without id"
    try:
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SegmentationError("annotation is not valid JSON") from error
        if not isinstance(record, dict):
            raise SegmentationError("annotation is not an object")
        name = printable(record.get("id", name))[:40]
        if normal_id(record.get("image_id")) != image.id:
            raise SegmentationError("annotation without an image_id")
        category_id = normal_id(record.get("category_id"))
        kind = kind_without_outline(record)
        if category_id is None and kind not in (None, NO_SEGMENTATION):
            raise SegmentationError(kind)
        categories = rules.categories[record.get(SOURCE_KEY, 0)]
        if category_id is None or category_id not in categories:
            raise SegmentationError("category_id is not in the list of categories")
        category = categories[category_id]
        if category not in indices:
            account.unmapped[category] += 1
            return None
        if kind:
            raise SegmentationError(kind)
        drawable, dropped = check_segmentation(record["segmentation"], image.height, image.width)
    except SegmentationError as error:
        account.skipped_annotations.add(str(error), image=image.file_name, annotation=name)
        return None
    for reason in dropped:
        account.dropped_polygons.add(reason, image=image.file_name, annotation=name)
    crowd = str(record.get("iscrowd", 0)).lower() in ("1", "true", "1.0")
    account.totals["crowds"] += crowd
    polygons, runs = (drawable, ()) if isinstance(drawable, list) else ((), (drawable,))
    return Region(indices[category], runs, crowd, category, polygons)


def _rasterise(
    regions: Sequence[Region], image: ImageEntry, cut_holes: bool, account: Account
) -> None:
    """Give the regions of polygons their runs, all with one call of pycocotools."""
    polygons = [polygon for region in regions for polygon in region.polygons]
    encoded = rasterise(polygons, image.height, image.width)
    drawn, stop = runs_of(encoded), 0
    for region in regions:
        start, stop = stop, stop + len(region.polygons)
        if stop > start:
            region.runs = drawn[start:stop]
        if stop > start + 1:
            parts = encoded[start:stop]
            union = int(coco_mask.area(coco_mask.merge(parts)))
            if coco_mask.area(parts).sum() > union and has_holes(parts):  # few overlap at all
                starts, ends = even_odd(region.runs)
                inside = union - int((ends - starts).sum())
                account.totals.update(holed=1, holed_pixels=union, hole_pixels=inside)
            region.runs = [even_odd(region.runs)] if cut_holes else region.runs


def _add_painting(account: Account, painting: Painting, regions: Sequence[Region]) -> None:
    shown = np.flatnonzero(painting.pixels).tolist()
    account.pixels = Counter({index: int(painting.pixels[index]) for index in shown})
    account.images_by_label = Counter(shown)
    account.totals["contested_pixels"] = painting.contested
    account.totals["contested_images"] = int(painting.contested > 0)
    account.beaten = Counter(dict(sorted(painting.beaten.items())))
    for region, hidden, size in zip(regions, painting.hidden, painting.sizes, strict=True):
        account.hidden[region.category] += hidden
        (account.drawn if size else account.empty)[region.category] += 1
        if size <= MOST_OF_A_UNIT and region.polygons:
            scale = _scale(region.polygons, *painting.label_map.shape)
            if scale == 0 or (scale > 1 and not size):
                account.scales[scale] += 1
    account.hidden = +account.hidden  # without zeros


def _scale(polygons: Sequence[Polygon], height: int, width: int) -> int:
    """How many times as large an image would hold the polygons; 0 if they span 0 to 1 or so."""
    points = np.concatenate(polygons).reshape(-1, 2)
    if points.min() >= -0.1 and points.max() <= 1.1:
        return 0
    return max(1, math.ceil(float((points.max(axis=0) / (width, height)).max())))
