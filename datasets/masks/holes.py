"""Polygons of an annotation that lie inside another of it: what some tools write for holes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.coco.segmentations import Runs


def even_odd(parts: Sequence[Runs]) -> Runs:
    """The pixels that an odd number of the parts cover.

    Between two neighbours of all edges, sorted, the number is the same, and odd every second time.
    """
    edges = np.sort(np.concatenate([edge for part in parts for edge in part]))
    return edges[0::2], edges[1::2]


def pixels_of(parts: Sequence[Runs]) -> int:
    """How many pixels the parts cover together."""
    starts = np.concatenate([part[0] for part in parts])
    ends = np.concatenate([part[1] for part in parts])
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    before = np.concatenate((starts[:1], ends[:-1]))
    return int((ends - np.minimum(np.maximum(starts, before), ends)).sum())


def has_holes(parts: Sequence[Runs]) -> bool:
    """Whether a part lies inside another, which has more pixels."""
    sizes = [int((ends - starts).sum()) for starts, ends in parts]
    odd = even_odd(parts)
    if int((odd[1] - odd[0]).sum()) == sum(sizes):
        return False  # no two of them overlap
    filled = [n for n, size in enumerate(sizes) if size]
    first = np.array([parts[n][0][0] for n in filled])
    last = np.array([parts[n][1].max() for n in filled])
    for n, start, end in zip(filled, first.tolist(), last.tolist(), strict=True):
        for other in np.flatnonzero((first <= start) & (last >= end)).tolist():
            around = filled[other]
            if sizes[around] > sizes[n]:
                apart = even_odd((parts[around], parts[n]))
                if int((apart[1] - apart[0]).sum()) == sizes[around] - sizes[n]:
                    return True
    return False
