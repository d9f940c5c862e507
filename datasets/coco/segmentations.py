"""COCO segmentations -> runs, vetted: the half-open intervals of pixels that an object covers.

Pixels are numbered down the columns, as COCO counts them: pixel (row, column) of an image of
height H is ``column * H + row``. Run-length encodings are read here, since pycocotools takes the
counts on trust: wrong ones crash it, or show memory that was never written. pycocotools rasterises
the polygons. Whatever is not well-formed raises SegmentationError before any C code sees it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

# A polygon may leave its image; coordinates beyond this are a mistake, and ten times as much
# would overflow the C integers that pycocotools scales them to.
MAX_COORDINATE = 1_000_000

# pycocotools takes five steps a pixel along an outline and keeps each one: 80 MB at this length.
MAX_OUTLINE = 1_000_000

MAX_NESTING = 3  # lists around the polygons of a multi-polygon in GeoJSON

Polygon = npt.NDArray[np.float64]  # (2 * points,): x1, y1, x2, y2, ...

NUMBERS = {int, float}  # the types of a number in JSON, without bool
# Numbers of up to 35 bits in COCO's text, see ``decode_numbers``.
COMPRESSED = re.compile(r"(?:[P-o]{0,6}[0-O])+")

Rle = dict[str, Any]  # pycocotools': {"size": [height, width], "counts": compressed, bytes}

Ints = npt.NDArray[np.int64]

# (starts, ends), each (runs,): a region is the union of these half-open intervals of pixels.
Runs = tuple[Ints, Ints]


class SegmentationError(ValueError):
    """A segmentation that cannot be drawn; the text is the reason, the same for all alike."""


def check_segmentation(
    segmentation: Any, height: int, width: int
) -> tuple[list[Polygon] | Runs, list[str]]:
    """Vet one annotation's segmentation, so that drawing it cannot fail.

    Of a list of polygons the good ones are kept and the others dropped (Detectron2's rule: at
    least three points, an even count of numbers); with none left the annotation is bad. What some
    tools write instead is read, if it can be read in one way only: see ``_other_reading``.

    Args:
        segmentation: COCO's: a list of polygons [x1, y1, x2, y2, ...] in pixels, or a run-length
            encoding {"size": [height, width], "counts": list of int or COCO's compressed string}.
        height, width: of the image, pixels.

    Returns:
        Polygons for ``rasterise``, or the runs of a run-length encoding; and the reason for each
        polygon that was dropped.

    Raises:
        SegmentationError: nothing of it can be drawn.
    """
    if isinstance(segmentation, dict):
        return rle_runs(segmentation, height, width), []
    if not isinstance(segmentation, list):
        raise SegmentationError(
            f"segmentation is a {type(segmentation).__name__}, expected polygons or RLE"
        )
    if all(isinstance(each, dict) and "counts" in each for each in segmentation):  # COCO-Stuff 10k
        parts = [rle_runs(rle, height, width) for rle in segmentation]
        starts, ends = (np.concatenate(edges) for edges in zip(*parts, strict=True))
        return (starts, ends), []
    good, outline, dropped = _checked_polygons(segmentation)
    if not good and (polygons := _other_reading(segmentation)):
        good, outline, dropped = _checked_polygons(polygons)
    if not good:
        raise SegmentationError(dropped[0])
    if outline > MAX_OUTLINE and sum(map(_outline_length, good)) > MAX_OUTLINE:
        raise SegmentationError(f"polygons have outlines of over {MAX_OUTLINE:,} pixels together")
    return good, dropped


def _checked_polygons(polygons: Sequence[Any]) -> tuple[list[Polygon], float, list[str]]:
    """The good ones, a bound of their outlines together, and what is wrong with the others."""
    good: list[Polygon] = []
    dropped: list[str] = []
    outline = 0.0
    for polygon in polygons:
        try:
            values, furthest = _checked_polygon(polygon)
            good.append(values)
            outline += furthest * values.size  # no side is longer than twice the furthest
        except SegmentationError as error:
            dropped.append(str(error))
    return good, outline, dropped


def _checked_polygon(polygon: Any) -> tuple[Polygon, float]:
    """The polygon as an array, and its furthest coordinate."""
    if not isinstance(polygon, list):
        kind = "a number" if isinstance(polygon, int | float) else f"a {type(polygon).__name__}"
        raise SegmentationError(f"polygon is {kind}, expected [x1, y1, x2, y2, ...]")
    # Types first: numpy would make room for a long text in every element.
    if not set(map(type, polygon)) <= NUMBERS:
        raise SegmentationError("polygon is not a flat list of numbers [x1, y1, x2, y2, ...]")
    if len(polygon) % 2:
        raise SegmentationError("polygon has an odd count of values")
    if len(polygon) < 6:
        raise SegmentationError("polygon has fewer than 3 points")
    try:
        values = np.array(polygon, np.float64)
        furthest = float(np.abs(values).max())
    except OverflowError:
        furthest = math.inf
    if not furthest <= MAX_COORDINATE:  # NaN where any is
        raise SegmentationError(
            f"polygon has a coordinate that is no number up to {MAX_COORDINATE:,}"
        )
    return values, furthest


def _outline_length(values: Polygon) -> float:
    """Length in steps along the longer axis, the closing side included: what pycocotools keeps."""
    points = values.reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _other_reading(value: Any, depth: int = 0) -> list[Any]:
    """The polygons of lists that are nested as COCO's are not; none if it cannot be told.

    One polygon that is in no list (VGG's annotator), points as [x, y] pairs, and lists in lists.
    """
    if not value or depth > MAX_NESTING:
        return [value] if depth else []
    if set(map(type, value)) <= NUMBERS:
        return [value]
    if not all(isinstance(each, list) for each in value):
        return [value] if depth else []  # in a list, it is told as a bad polygon
    if len(value) >= 3 and all(len(each) == 2 and {*map(type, each)} <= NUMBERS for each in value):
        return [[number for point in value for number in point]]
    return [polygon for each in value for polygon in _other_reading(each, depth + 1)]


def rasterise(polygons: Sequence[Polygon], height: int, width: int) -> list[Rle]:
    """Each polygon, run-length encoded by pycocotools; all of an image at once are fastest."""
    if not polygons:
        return []
    # frPyObjects takes a list whose first item has more than four numbers for polygons.
    encoded: list[Rle] = coco_mask.frPyObjects(list(polygons), height, width)
    return encoded


def runs_of(encoded: Sequence[Rle]) -> list[Runs]:
    """The runs of each of pycocotools' run-length encodings."""
    if not encoded:
        return []
    texts = [rle["counts"] for rle in encoded]
    numbers, last = _numbers(b"".join(texts))
    ends = np.searchsorted(last, np.cumsum([len(text) for text in texts]) - 1) + 1
    return [_runs(_counts(part)) for part in np.split(numbers, ends[:-1])]


def rle_runs(rle: dict[str, Any], height: int, width: int) -> Runs:
    """The runs of one COCO run-length encoding, compressed or not, from anywhere.

    Raises:
        SegmentationError: its size is not the image's, or its counts are not whole numbers that
            sum to height x width.
    """
    size, counts = rle.get("size"), rle.get("counts")
    if size is None or counts is None:
        raise SegmentationError("segmentation is an object without the size or counts of RLE")
    if size != [height, width]:
        raise SegmentationError("RLE size is not the image's height and width")
    values = np.array([math.inf])  # fits no image
    if isinstance(counts, str):
        if not COMPRESSED.fullmatch(counts):
            raise SegmentationError("RLE counts are a text, but not in COCO's compressed form")
        values = _counts(_numbers(counts.encode())[0]).astype(np.float64)
    elif isinstance(counts, list) and set(map(type, counts)) <= NUMBERS:
        with suppress(OverflowError):
            values = np.array(counts, np.float64)  # exact for all that can fit an image
    fits = (values >= 0) & (values <= height * width) & (values == np.floor(values))
    if not fits.all() or values.sum() != height * width:
        raise SegmentationError("RLE counts are not whole numbers that sum to height x width")
    return _runs(values.astype(np.int64))


def _numbers(text: bytes) -> tuple[Ints, Ints]:
    """The numbers in COCO's compressed string, and where in it each one's last character stands.

    Five bits a character, offset 48, lowest first; bit 32 says that more follow and bit 16 of
    the last one is the sign. Source: rleFrString in maskApi.c of pycocotools.
    """
    bits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(bits < 32)
    first = np.concatenate(([0], last[:-1] + 1))
    lengths = last - first + 1
    shift = 5 * (np.arange(bits.size) - np.repeat(first, lengths))
    values = np.add.reduceat((bits & 31) << shift, first)
    values -= ((bits[last] & 16) << 1) << (5 * (lengths - 1))
    return values, last


def _counts(numbers: Ints) -> Ints:
    """From its fourth on, COCO stores each count as its difference to the last but one."""
    numbers[1::2] = numbers[1::2].cumsum()  # np.cumsum would take twice the time for a few
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers


def _runs(counts: Ints) -> Runs:
    """Counts alternate, background first: every second interval between their sums is a run."""
    edges = counts.cumsum()
    ends = edges[1::2]
    return edges[0::2][: ends.size], ends


def has_holes(parts: Sequence[Rle]) -> bool:
    """Whether one of an annotation's encoded polygons lies inside another, larger one."""
    areas = coco_mask.area(parts)
    covered = coco_mask.iou(parts, parts, [True] * len(parts))  # of each row's, by each column's
    return bool(((covered == 1) & (areas[:, None] > 0) & (areas[:, None] < areas)).any())


def even_odd(parts: Sequence[Runs]) -> Runs:
    """The pixels that an odd number of the parts cover.

    Between two neighbours of all edges, sorted, the number is the same, and odd every second time.
    """
    edges = np.sort(np.concatenate([edge for part in parts for edge in part]))
    return edges[0::2], edges[1::2]
