"""Runs of pixels against pycocotools' own decoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import compressed_rle, uncompressed_rle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from datasets.coco.segmentations import Runs, check_segmentation, rasterise, runs_of

SIZES = st.tuples(st.integers(1, 30), st.integers(1, 30))


def region_of(runs: Runs, height: int, width: int) -> np.ndarray:
    """(H, W) bool, interval by interval."""
    pixels = np.zeros(height * width, bool)
    for start, end in zip(*runs, strict=True):
        assert 0 <= start <= end <= height * width
        pixels[start:end] = True
    return pixels.reshape(width, height).T


def drawn(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The region of a segmentation as this project draws it."""
    drawable, dropped = check_segmentation(segmentation, height, width)
    assert dropped == []
    if not isinstance(drawable, list):
        return region_of(drawable, height, width)
    runs = runs_of(rasterise(drawable, height, width))
    return np.any([region_of(part, height, width) for part in runs], axis=0)


def polygons(size: tuple[int, int], most_points: int = 8) -> st.SearchStrategy[list[list[float]]]:
    """Polygons in and around an image of that size, coordinates on and between its pixels."""
    reach = 2 * max(size) + 1
    number = st.one_of(
        st.integers(-reach, reach),
        st.integers(-4 * reach, 4 * reach).map(lambda quarter: quarter / 4),
        st.floats(-reach, reach, allow_nan=False),
    )
    point = st.tuples(number, number)
    polygon = st.lists(point, min_size=3, max_size=most_points).map(
        lambda points: [value for pair in points for value in pair]
    )
    return st.lists(polygon, min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), size=SIZES)
def test_polygons_equal_pycocotools_also_partly_outside(
    data: st.DataObject, size: tuple[int, int]
) -> None:
    parts = data.draw(polygons(size))
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(parts, *size)))
    assert np.array_equal(drawn(parts, *size), expected.astype(bool))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), size=SIZES)
def test_polygons_rasterised_together_equal_each_alone(
    data: st.DataObject, size: tuple[int, int]
) -> None:
    parts = [np.array(part, np.float64) for part in data.draw(polygons(size))]
    together = runs_of(rasterise(parts, *size))
    assert len(together) == len(parts)
    for runs, part in zip(together, parts, strict=True):
        expected = coco_mask.decode(coco_mask.frPyObjects([part.tolist()], *size))[:, :, 0]
        assert np.array_equal(region_of(runs, *size), expected.astype(bool))


@settings(max_examples=200, deadline=None)
@given(region=SIZES.flatmap(lambda size: arrays.arrays(bool, size)), scale=st.integers(1, 40))
def test_both_run_length_encodings_of_any_region_give_the_region(
    region: np.ndarray, scale: int
) -> None:
    region = np.repeat(region, scale, axis=0)  # long runs: counts of several characters
    assert np.array_equal(drawn(compressed_rle(region), *region.shape), region)
    assert np.array_equal(drawn(uncompressed_rle(region), *region.shape), region)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), size=SIZES)
def test_any_counts_that_fit_equal_pycocotools(data: st.DataObject, size: tuple[int, int]) -> None:
    pixels = size[0] * size[1]
    cuts = sorted(data.draw(st.lists(st.integers(0, pixels), max_size=12)))  # zeros, too
    counts = np.diff([0, *cuts, pixels]).tolist()
    listed = {"size": list(size), "counts": counts}
    packed = coco_mask.frPyObjects(listed, *size)
    expected = coco_mask.decode(packed).astype(bool)
    assert np.array_equal(drawn(listed, *size), expected)
    text = {"size": list(size), "counts": packed["counts"].decode()}
    assert np.array_equal(drawn(text, *size), expected)
    floats = {"size": [float(side) for side in size], "counts": [float(n) for n in counts]}
    assert np.array_equal(drawn(floats, *size), expected)


def test_a_run_longer_than_a_million_pixels_is_read() -> None:
    height, width = 1300, 1700
    region = np.zeros((height, width), np.uint8)
    region[:, 100:] = 1
    region[5, 1] = 1
    assert np.array_equal(drawn(compressed_rle(region), height, width), region.astype(bool))


@pytest.mark.parametrize(
    ("polygon", "expected"),
    [
        ([0, 0, 2, 0, 2, 2, 0, 2], [[1, 1, 0], [1, 1, 0], [0, 0, 0]]),
        ([-5, -5, 9, -5, 9, 9, -5, 9], [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
        ([5, 5, 9, 5, 9, 9, 5, 9], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
        ([1, 0, 2, 0, 2, 3, 1, 3], [[0, 1, 0], [0, 1, 0], [0, 1, 0]]),
        ([1, 1, 1, 1, 1, 1], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
    ],
)
def test_polygons_counted_by_hand(polygon: list[int], expected: list[list[int]]) -> None:
    assert drawn([polygon], 3, 3).astype(int).tolist() == expected


def test_a_polygon_far_wider_than_its_image_is_drawn() -> None:
    wide = [[-200_000.0, 3, 200_000, 3, 200_000, 6, -200_000, 6]]
    expected = np.zeros((10, 10), bool)
    expected[3:6] = True
    assert np.array_equal(drawn(wide, 10, 10), expected)


def test_one_polygon_without_a_list_around_it_is_drawn() -> None:
    polygon = [1, 1, 9, 1, 9, 9]
    assert np.array_equal(drawn(polygon, 10, 10), drawn([polygon], 10, 10))


def test_no_polygons_give_no_runs() -> None:
    assert runs_of(rasterise([], 3, 4)) == []
