"""Painting: the regions of one image -> its label map, and what the overlaps cost.

All of it happens on intervals between the edges of runs, a few thousand an image, instead of on
its 300,000 pixels; only the finished label map is spread out. numpy, no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datasets.label_set import IGNORE_INDEX
from datasets.runs import Runs

OVERLAP_RULES = ("priority", "later", "smaller", "ignore")
CROWD_RULES = ("paint", "background", "ignore")

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Region:
    """The pixels of one annotation.

    Attributes:
        label: index of the label to paint, 1 and up.
        runs: as ``datasets.runs`` makes them, one entry for each part.
        crowd: whether COCO marks it as a crowd of objects.
    """

    label: int
    runs: tuple[Runs, ...]
    crowd: bool = False


@dataclass(frozen=True)
class Painting:
    """A label map and the account of how it came about.

    Attributes:
        label_map: (H, W) uint8 label indices; 255 is ignored.
        pixels: (256,) int64, pixels by label index, 255 included.
        contested: pixels that two or more different labels claimed.
        beaten: (winner, loser) label indices -> pixels; the winner is 255 under rule "ignore".
        hidden: for each region, whether other labels took every one of its pixels.
    """

    label_map: npt.NDArray[np.uint8]
    pixels: Ints
    contested: int
    beaten: dict[tuple[int, int], int]
    hidden: tuple[bool, ...]


class Canvas:
    """The intervals of one image: between two neighbouring edges every pixel is claimed alike."""

    def __init__(self, regions: Sequence[Region], height: int, width: int) -> None:
        self.height, self.width = height, width
        ends = [edge for region in regions for runs in region.runs for edge in runs]
        edges = np.concatenate([np.array([0, height * width], np.int64), *ends])
        self.edges, position = np.unique(edges, return_inverse=True)
        self.lengths: Ints = np.diff(self.edges)
        self._runs: list[list[Runs]] = []
        taken = 2
        for region in regions:
            parts = []
            for starts, _ in region.runs:
                middle, stop = taken + starts.size, taken + 2 * starts.size
                parts.append((position[taken:middle], position[middle:stop]))
                taken = stop
            self._runs.append(parts)

    def cover(self, region: int) -> Bools:
        """(intervals,): which intervals one region covers."""
        return self.cover_any([region])

    def cover_any(self, regions: Sequence[int]) -> Bools:
        """(intervals,): which intervals at least one of the regions covers."""
        parts = [runs for region in regions for runs in self._runs[region]]
        size = self.edges.size
        opened = np.bincount(np.concatenate([starts for starts, _ in parts]), minlength=size)
        closed = np.bincount(np.concatenate([ends for _, ends in parts]), minlength=size)
        covered: Bools = np.cumsum(opened - closed)[:-1] > 0
        return covered

    def spread(self, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Labels of the intervals -> (H, W) label map; COCO numbers pixels down the columns."""
        columns = np.repeat(labels, self.lengths).reshape(self.width, self.height)
        return np.ascontiguousarray(columns.T)


def paint(
    regions: Sequence[Region],
    height: int,
    width: int,
    *,
    overlap: str = "later",
    crowd: str = "paint",
    priorities: Sequence[float] | None = None,
) -> Painting:
    """Paint the regions of one image, in the order of the annotation file, onto background.

    Args:
        regions: in the order of the annotation file.
        height: of the image, pixels.
        width: of the image, pixels.
        overlap: which label keeps a pixel that several claim. "priority": the one of higher
            priority; "later": the later region's; "smaller": that of the region with fewer
            pixels; "ignore": none, the pixel becomes 255. Ties go to the later region.
        crowd: "paint" crowds like other regions, leave them "background", or "ignore": 255
            where no other region claims the pixel.
        priorities: by label index; needed for overlap "priority".

    Returns:
        The label map and its account. Ignored crowds contest nothing.
    """
    if overlap not in OVERLAP_RULES or crowd not in CROWD_RULES:
        raise ValueError(
            f"got overlap {overlap!r} and crowd {crowd!r}, expected one of {OVERLAP_RULES} "
            f"and one of {CROWD_RULES}"
        )
    canvas = Canvas(regions, height, width)
    painted = [i for i, region in enumerate(regions) if crowd == "paint" or not region.crowd]
    labels = np.zeros(canvas.lengths.size, np.uint8)
    ignored_crowds = [i for i, region in enumerate(regions) if region.crowd and crowd == "ignore"]
    if ignored_crowds:
        labels[canvas.cover_any(ignored_crowds)] = IGNORE_INDEX
    order = _paint_order(canvas, regions, painted, overlap, priorities)
    claims = _paint_in_order(canvas, regions, order, labels)
    contested, beaten = _settle_contested(canvas, claims, labels, ignore=overlap == "ignore")
    hidden = _hidden(canvas, regions, painted, labels) if contested else (False,) * len(regions)
    pixels = np.bincount(labels, weights=canvas.lengths, minlength=256).astype(np.int64)
    return Painting(canvas.spread(labels), pixels, contested, beaten, hidden)


def _paint_order(
    canvas: Canvas,
    regions: Sequence[Region],
    painted: list[int],
    overlap: str,
    priorities: Sequence[float] | None,
) -> list[int]:
    """Regions to paint, first to last; Python's sort is stable, so ties keep the file's order."""
    if overlap == "priority":
        if priorities is None:
            raise ValueError("overlap 'priority' needs priorities, got none")
        return sorted(painted, key=lambda i: priorities[regions[i].label])
    if overlap == "smaller":
        return sorted(painted, key=lambda i: -int(canvas.lengths[canvas.cover(i)].sum()))
    return painted


def _paint_in_order(
    canvas: Canvas, regions: Sequence[Region], order: list[int], labels: npt.NDArray[np.uint8]
) -> dict[int, Bools]:
    """Paint into ``labels``; return what each label claims, as (intervals,) bools.

    Neighbours in the order that share a label are painted as one: the result is the same.
    """
    claims: dict[int, Bools] = {}
    while order:
        label = regions[order[0]].label
        count = next((n for n, i in enumerate(order) if regions[i].label != label), len(order))
        covered = canvas.cover_any(order[:count])
        order = order[count:]
        labels[covered] = label
        claims[label] = claims[label] | covered if label in claims else covered
    return claims


def _settle_contested(
    canvas: Canvas, claims: dict[int, Bools], labels: npt.NDArray[np.uint8], *, ignore: bool
) -> tuple[int, dict[tuple[int, int], int]]:
    """Count the pixels that several labels claim, by winner and loser; make them 255 if asked."""
    if len(claims) < 2:
        return 0, {}
    contested = np.sum(list(claims.values()), axis=0, dtype=np.uint16) > 1
    if not contested.any():
        return 0, {}
    if ignore:
        labels[contested] = IGNORE_INDEX
    beaten: dict[tuple[int, int], int] = {}
    for loser, claimed in claims.items():
        lost = claimed & (labels != loser)
        pixels = np.bincount(labels[lost], weights=canvas.lengths[lost])
        for winner in np.flatnonzero(pixels).tolist():
            beaten[winner, loser] = int(pixels[winner])
    return int(canvas.lengths[contested].sum()), beaten


def _hidden(
    canvas: Canvas, regions: Sequence[Region], painted: list[int], labels: npt.NDArray[np.uint8]
) -> tuple[bool, ...]:
    """For each region, whether it had pixels and none of them shows its label."""
    hidden = [False] * len(regions)
    for i in painted:
        covered = canvas.cover(i)
        hidden[i] = bool(covered.any()) and not bool((labels[covered] == regions[i].label).any())
    return tuple(hidden)
