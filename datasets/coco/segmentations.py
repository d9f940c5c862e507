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

Ints = npt.NDArray[np.int64]

# (starts, ends), each (runs,): a region is the union of these half-open intervals of pixels.
Runs = tuple[Ints, Ints]


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
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        Polygons for ``polygon_runs``, or the runs of a run-length encoding; and the reason for
        each polygon that was dropped.

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
            values, bound = _checked_polygon(polygon)
            good.append(values)
            outline += bound
        except SegmentationError as error:
            dropped.append(str(error))
    return good, outline, dropped


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
        raise SegmentationError(f"polygon is {kind}, expected [x1, y1, x2, y2, ...]")
    if len(polygon) % 2:
        raise SegmentationError("polygon has an odd count of values")
    if len(polygon) < 6:
        raise SegmentationError("polygon has fewer than 3 points")
    # Types first: numpy would make room for a long text in every element.
    if not set(map(type, polygon)) <= NUMBERS:
        raise SegmentationError("polygon is not a flat list of numbers [x1, y1, x2, y2, ...]")
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


class SegmentationError(ValueError):
    """A segmentation that cannot be drawn; the text is the reason, the same for all alike."""


def rle_runs(rle: dict[str, Any], height: int, width: int) -> Runs:
    """The runs of one COCO run-length encoding, compressed or not.

    Raises:
        SegmentationError: its size is not the image's, or its counts are not non-negative
            integers that sum to height x width.
    """
    size = rle.get("size")
    if size is None or rle.get("counts") is None:
        raise SegmentationError("RLE without size or counts")
    if not isinstance(size, list) or [_as_number(n) for n in size] != [height, width]:
        raise SegmentationError("RLE size is not the image's height and width")
    counts = rle["counts"]
    if isinstance(counts, str):
        try:
            values = _compressed_counts(counts.encode("ascii"))
        except UnicodeEncodeError as error:
            raise SegmentationError("RLE counts hold a character that COCO's do not") from error
    elif isinstance(counts, list):
        values = _listed_counts(counts)
    else:
        raise SegmentationError(f"RLE counts are a {type(counts).__name__}")
    pixels = height * width
    # Each count is bounded before the sum, which then cannot overflow.
    if values.size and (int(values.min()) < 0 or int(values.max()) > pixels):
        raise SegmentationError("RLE counts are negative or beyond the image")
    if int(values.sum()) != pixels:
        raise SegmentationError("RLE counts do not sum to height x width")
    return _runs_of_counts(values)


def _as_number(value: Any) -> Any:
    """A bool is no size, though Python calls True equal to 1."""
    return None if isinstance(value, bool) else value


def _listed_counts(counts: Sequence[Any]) -> Ints:
    if not counts:
        raise SegmentationError("RLE counts are empty")
    if not set(map(type, counts)) <= NUMBERS:
        raise SegmentationError("RLE counts are not integers")
    try:
        values = np.array(counts, np.float64)  # exact for all that can fit an image
    except OverflowError as error:
        raise SegmentationError("RLE counts are negative or beyond the image") from error
    if not bool((values == np.floor(values)).all()):  # NaN is unequal, too
        raise SegmentationError("RLE counts are not integers")
    return values.clip(-1, 2**53).astype(np.int64)


def _compressed_counts(text: bytes) -> Ints:
    """Counts of COCO's compressed string, which may come from anywhere."""
    if not text:
        raise SegmentationError("RLE counts are empty")
    if not all(48 <= character < 112 for character in text):
        raise SegmentationError("RLE counts hold a character that COCO's do not")
    if text[-1] - 48 & 32:
        raise SegmentationError("RLE counts end inside a number")
    if re.search(rb"[P-o]{7}", text):  # seven that say "more follows": over 35 bits
        raise SegmentationError("RLE counts are negative or beyond the image")
    values, _ = decode_numbers(text)
    return counts_of_differences(values, np.array([values.size]))[0]


def decode_numbers(text: bytes) -> tuple[Ints, Ints]:
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


def counts_of_differences(values: Ints, sizes: Ints) -> tuple[Ints, Ints]:
    """Counts of several encodings in a row, each made even in number by a count of zero at its end.

    From its fourth on, COCO stores each count as its difference to the last but one.

    Args:
        values: the numbers of all encodings.
        sizes: how many of them each encoding has, at least one.

    Returns:
        The counts, and how many pairs (background, region) of them each encoding has.
    """
    pairs = (sizes + 1) // 2
    starts = 2 * (np.cumsum(pairs) - pairs)
    odd = sizes % 2 == 1
    padding = (starts + sizes)[odd]
    counts = np.zeros(2 * int(pairs.sum()), np.int64)
    filled = np.ones(counts.size, bool)
    filled[padding] = False
    counts[filled] = values
    first = counts[starts]
    counts[starts] = 0  # the first count stands alone: the third is no difference to it
    for chain in (counts[0::2], counts[1::2]):
        sums = np.cumsum(chain)
        before = np.concatenate(([0], sums))[starts // 2]
        chain[:] = sums - np.repeat(before, pairs)
    counts[starts] = first
    counts[padding] = 0
    return counts, pairs


def _runs_of_counts(counts: Ints) -> Runs:
    """Counts alternate, background first; every second interval between their sums is a run."""
    edges = np.cumsum(counts)
    ends = edges[1::2]
    return edges[0::2][: ends.size], ends
