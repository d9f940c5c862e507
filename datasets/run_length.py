"""COCO's run-length encodings -> runs: the half-open intervals of pixels that an object covers.

Pixels are numbered down the columns, as COCO counts them: pixel (row, column) of an image of
height H is ``column * H + row``. Read here, since pycocotools takes the counts on trust: wrong
ones crash it, or show memory that was never written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

NUMBERS = {int, float}  # the types of a number in JSON, without bool

Ints = npt.NDArray[np.int64]
# (starts, ends), each (runs,): a region is the union of these half-open intervals of pixels.
Runs = tuple[Ints, Ints]


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
