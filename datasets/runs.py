"""COCO segmentations -> runs of pixels, vetted.

pycocotools rasterises the polygons. Whatever is not well-formed raises SegmentationError before
any C code sees it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from datasets.run_length import (
    NUMBERS,
    Runs,
    SegmentationError,
    counts_of_differences,
    decode_numbers,
    rle_runs,
)

# A polygon may leave its image; coordinates beyond this are a mistake, and ten times as much
# would overflow the C integers that pycocotools scales them to.
MAX_COORDINATE = 1_000_000
# pycocotools takes five steps a pixel along an outline and keeps each one: 80 MB at this length.
MAX_OUTLINE = 1_000_000

Polygon = npt.NDArray[np.float64]  # (2 * points,): x1, y1, x2, y2, ...


def check_segmentation(
    segmentation: Any, height: int, width: int, *, has_box: bool = False
) -> tuple[list[Polygon] | Runs, list[str]]:
    """Vet one annotation's segmentation, so that drawing it cannot fail.

    Of a list of polygons the good ones are kept and the others dropped (Detectron2's rule: at
    least three points, an even count of numbers); with none left the annotation is bad.

    Args:
        segmentation: COCO's: a list of polygons [x1, y1, x2, y2, ...] in pixels, or a run-length
            encoding {"size": [height, width], "counts": list of int or COCO's compressed string}.
        height: of the image, pixels.
        width: of the image, pixels.
        has_box: whether the annotation has a bounding box, to tell a detection from a mistake.

    Returns:
        Polygons for ``polygon_runs``, or the runs of a run-length encoding; and the reason for
        each polygon that was dropped.

    Raises:
        SegmentationError: nothing of it can be drawn.
    """
    if segmentation is None or segmentation == []:
        raise SegmentationError("box without segmentation" if has_box else "no segmentation")
    if isinstance(segmentation, dict):
        return rle_runs(segmentation, height, width), []
    if not isinstance(segmentation, list):
        raise SegmentationError(
            f"segmentation is a {type(segmentation).__name__}, expected polygons or RLE"
        )
    if set(map(type, segmentation)) <= NUMBERS:
        segmentation = [segmentation]  # one polygon not in a list: VGG's annotator writes it so
    good: list[Polygon] = []
    dropped: list[str] = []
    outline = 0.0  # at most
    for polygon in segmentation:
        try:
            values, bound = _checked_polygon(polygon)
            good.append(values)
            outline += bound
        except SegmentationError as error:
            dropped.append(str(error))
    if not good:
        raise SegmentationError(dropped[0])
    if outline > MAX_OUTLINE and sum(map(_outline_length, good)) > MAX_OUTLINE:
        raise SegmentationError(f"polygons have outlines of over {MAX_OUTLINE:,} pixels together")
    return good, dropped


def polygon_runs(polygons: Sequence[Polygon], height: int, width: int) -> list[Runs]:
    """The runs of each polygon, rasterised by pycocotools.

    Args:
        polygons: from ``check_segmentation``; all those of an image at once are fastest.
        height: of the image, pixels.
        width: of the image, pixels.
    """
    if not polygons:
        return []
    # frPyObjects takes a list whose first item has more than four numbers for polygons.
    texts = [rle["counts"] for rle in coco_mask.frPyObjects(list(polygons), height, width)]
    values, last = decode_numbers(b"".join(texts))
    ends = np.searchsorted(last, np.cumsum([len(text) for text in texts]) - 1) + 1
    counts, pairs = counts_of_differences(values, np.diff(ends, prepend=0))
    edges = np.cumsum(counts) - np.repeat(
        np.arange(len(texts)) * (height * width), 2 * pairs
    )  # each polygon's counts sum to all pixels
    stops = np.cumsum(pairs).tolist()
    return [
        (edges[2 * start : 2 * stop : 2], edges[2 * start + 1 : 2 * stop : 2])
        for start, stop in zip([0, *stops], stops, strict=False)
    ]


def _checked_polygon(polygon: Any) -> tuple[Polygon, float]:
    """The polygon as float64 (2 * points,), finite and in range; and a bound of its outline."""
    if not isinstance(polygon, list):
        kind = "a number" if isinstance(polygon, int | float) else f"a {type(polygon).__name__}"
        raise SegmentationError(f"polygon is {kind}, expected a list of numbers")
    if len(polygon) % 2:
        raise SegmentationError("polygon has an odd count of numbers")
    if len(polygon) < 6:
        raise SegmentationError("polygon has fewer than three points")
    # Types first: numpy would make room for a long text in every element.
    if not set(map(type, polygon)) <= NUMBERS:
        raise SegmentationError("polygon is not a flat list of numbers")
    try:
        values = np.array(polygon, np.float64)
    except OverflowError as error:
        raise SegmentationError(f"polygon has a coordinate beyond {MAX_COORDINATE:,}") from error
    furthest = float(np.abs(values).max())  # NaN where any is
    if not math.isfinite(furthest):
        raise SegmentationError("polygon has a coordinate that is not finite")
    if furthest > MAX_COORDINATE:
        raise SegmentationError(f"polygon has a coordinate beyond {MAX_COORDINATE:,}")
    bound = furthest * len(polygon)  # no side is longer than twice the furthest coordinate
    if bound > MAX_OUTLINE and (bound := _outline_length(values)) > MAX_OUTLINE:
        raise SegmentationError(f"polygon has an outline longer than {MAX_OUTLINE:,} pixels")
    return values, bound


def _outline_length(values: Polygon) -> float:
    """Length in steps along the longer axis, the closing side included: what pycocotools keeps."""
    points = values.reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
