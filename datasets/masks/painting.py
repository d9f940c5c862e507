"""Painting: the regions of one image -> its label map, and what the overlaps cost.

All of it happens on intervals between the edges of runs, a few thousand an image, instead of on
its 300,000 pixels; only the finished label map is spread out. numpy, no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datasets.coco.segmentations import Ints, Polygon, Runs
from datasets.labels import IGNORE_INDEX

OVERLAP_RULES = ("priority", "later", "smaller", "ignore")
CROWD_RULES = ("paint", "background", "ignore")
STRIP = 64  # columns turned at a time: a strip's cache lines fit the processor's first cache

Bools = npt.NDArray[np.bool_]


@dataclass
class Region:
    """What one annotation covers."""

    label: int  # index of the label to paint, 1 and up
    runs: Sequence[Runs]  # its parts, see datasets.coco.segmentations; of polygons, once drawn
    crowd: bool = False
    category: str = ""
    polygons: Sequence[Polygon] = ()  # from which the runs are made; none of a run-length encoding


@dataclass(frozen=True)
class Painting:
    """A label map and the account of how it came about."""

    label_map: npt.NDArray[np.uint8]  # (H, W) label indices; 255 is ignored
    pixels: Ints  # (256,) by label index, 255 included
    contested: int  # pixels that two or more different labels claimed
    beaten: dict[tuple[int, int], int]  # (winner, loser) -> pixels; the winner is 255 by "ignore"
    hidden: tuple[bool, ...]  # for each region, whether other labels took all of its pixels
    sizes: tuple[int, ...]  # of each region in pixels; those of several parts count several times


class Canvas:
    """The intervals of one image: between two neighbouring edges every pixel is claimed alike."""

    def __init__(self, regions: Sequence[Region], height: int, width: int) -> None:
        self.height, self.width = height, width
        parts = [runs for region in regions for runs in region.runs]
        starts = [runs[0] for runs in parts]
        ends = [runs[1] for runs in parts]
        every = np.concatenate([*starts, *ends, np.array([0, height * width])])
        order = every.argsort(kind="stable")  # np.unique's own does not know that runs ascend
        ordered = every[order]
        is_new = np.diff(ordered, prepend=-1) > 0
        edges, position = ordered[is_new], np.empty(every.size, np.int64)
        position[order] = is_new.cumsum() - 1
        self.lengths: Ints = np.diff(edges)
        middle = sum(map(len, starts))
        self._starts: Ints = position[:middle]
        self._ends: Ints = position[middle : 2 * middle]
        sizes = [sum(len(runs[0]) for runs in region.runs) for region in regions]
        stops = list(itertools.accumulate(sizes, initial=0))
        self._slices = [slice(*pair) for pair in itertools.pairwise(stops)]
        lengths = edges[self._ends] - edges[self._starts]
        sums = np.concatenate(([0], np.cumsum(lengths)))[stops]
        self.sizes: tuple[int, ...] = tuple(np.diff(sums).tolist())

    def cover(self, regions: Sequence[int]) -> Bools:
        """(intervals,): which intervals at least one of the regions covers."""
        size = self.lengths.size + 1
        starts = np.concatenate([self._starts[self._slices[region]] for region in regions])
        ends = np.concatenate([self._ends[self._slices[region]] for region in regions])
        changes = np.bincount(starts, minlength=size) - np.bincount(ends, minlength=size)
        covered: Bools = np.cumsum(changes)[:-1] > 0
        return covered

    def touches(self, region: int, sums: Ints) -> bool:
        """Whether a region covers one of the intervals that ``sums`` counts, from 0 on."""
        runs = self._slices[region]
        return bool((sums[self._ends[runs]] > sums[self._starts[runs]]).any())

    def spread(self, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Labels of the intervals -> (H, W) label map; COCO numbers pixels down the columns."""
        columns = np.repeat(labels, self.lengths).reshape(self.width, self.height)
        rows = np.empty((self.height, self.width), np.uint8)
        for left in range(0, self.width, STRIP):
            rows[:, left : left + STRIP] = columns[left : left + STRIP].T
        return rows


def paint(
    regions: Sequence[Region],
    height: int,
    width: int,
    *,
    overlap: str = "later",
    crowd: str = "paint",
    priorities: Mapping[int, float] | None = None,
) -> Painting:
    """Paint the regions of one image, in the order of the annotation file, onto background.

    Args:
        regions: in the order of the annotation file.
        height, width: of the image, pixels.
        overlap: which label keeps a pixel that several claim. "priority": the one of higher
            priority; "later": the later region's; "smaller": that of the region with fewer
            pixels; "ignore": none, the pixel becomes 255. Ties go to the later region.
        crowd: "paint" crowds like other regions, leave them "background", or "ignore": 255
            where no other region claims the pixel. Ignored crowds contest nothing.
        priorities: by label index; needed for overlap "priority".
    """
    canvas = Canvas(regions, height, width)
    painted = [i for i, region in enumerate(regions) if crowd == "paint" or not region.crowd]
    labels = np.zeros(canvas.lengths.size, np.uint8)
    ignored_crowds = [i for i, region in enumerate(regions) if region.crowd and crowd == "ignore"]
    if ignored_crowds:
        labels[canvas.cover(ignored_crowds)] = IGNORE_INDEX
    order = painted
    if overlap == "priority" and priorities:  # sorts are stable, so ties keep the file's order
        order = sorted(painted, key=lambda i: priorities[regions[i].label])
    elif overlap == "smaller":
        order = sorted(painted, key=lambda i: -int(canvas.lengths[canvas.cover([i])].sum()))
    claims: dict[int, Bools] = {}  # (intervals,) of each label
    # Neighbours in the order that share a label are painted as one: the result is the same.
    for label, group in itertools.groupby(order, key=lambda i: regions[i].label):
        covered = canvas.cover([*group])
        labels[covered] = label
        claims[label] = claims[label] | covered if label in claims else covered
    contested, beaten = _settle_contested(canvas, claims, labels, ignore=overlap == "ignore")
    hidden = _hidden(canvas, regions, painted, labels, {loser for _, loser in beaten})
    pixels = np.bincount(labels, weights=canvas.lengths, minlength=256).astype(np.int64)
    return Painting(canvas.spread(labels), pixels, contested, beaten, hidden, canvas.sizes)


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
    canvas: Canvas,
    regions: Sequence[Region],
    painted: list[int],
    labels: npt.NDArray[np.uint8],
    losers: set[int],
) -> tuple[bool, ...]:
    """For each region, whether it had pixels and none of them shows its label."""
    hidden = [False] * len(regions)
    for loser in losers:
        shown = np.concatenate(([0], np.cumsum(labels == loser)))
        for i in painted:
            if regions[i].label == loser:
                hidden[i] = canvas.sizes[i] > 0 and not canvas.touches(i, shown)
    return tuple(hidden)
