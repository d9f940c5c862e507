"""Sliding windows: where tiles lie, how they blend, and that the memory is bounded."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.prediction import View, decide, enlarge
from models.tiles import Axis, Tiling

SIZE, LABELS = 8, 4
axes = st.builds(Axis, st.integers(1, 300), st.integers(1, 80), st.floats(0, 0.9))


def logits_of(crop: Tensor) -> Tensor:
    """A network of a kind: (3, h, w) -> (LABELS, SIZE, SIZE), different for every crop."""
    image = View.of(SIZE)(crop).float()
    mixed = torch.stack([image[0] - image[1], image[1], image.roll(3, 2)[2], image.mean(0)])
    return mixed - crop.float().mean()


def scores_of(crop: Tensor) -> Tensor:
    return enlarge(logits_of(crop), (crop.shape[1], crop.shape[2]))


def noise(height: int, width: int) -> Tensor:
    chance = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), generator=chance, dtype=torch.uint8)


def full_size_logits(image: Tensor, tiling: Tiling) -> Tensor:
    """The slow way: all logits of the whole image, float64, weighted, then divided."""
    height, width = image.shape[1:]
    h, w = tiling.rows.size, tiling.columns.size
    window = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (h, w)))
    total, weights = np.zeros((LABELS, height, width)), np.zeros((height, width))
    for top in tiling.rows.starts:
        for left in tiling.columns.starts:
            logits = logits_of(image[:, top : top + h, left : left + w])
            tile = enlarge(logits, (h, w)).numpy()
            total[:, top : top + h, left : left + w] += window * tile
            weights[top : top + h, left : left + w] += window
    return torch.from_numpy(total / weights)


@given(axes)
def test_tiles_cover_an_axis_evenly_with_the_overlap_that_was_asked_for(axis: Axis) -> None:
    starts = axis.starts
    assert starts[0] == 0 and starts[-1] + axis.size == axis.length
    gaps = np.diff(starts)
    assert (gaps > 0).all()
    assert (gaps <= max(1, axis.size * (1 - axis.overlap))).all()
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


@given(axes)
def test_weights_sum_to_one_everywhere_and_none_is_zero(axis: Axis) -> None:
    total = torch.zeros(axis.length)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        assert weights.min() > 0
        total[start : start + axis.size] += weights
    assert torch.allclose(total, torch.ones(axis.length), atol=1e-6)


def test_a_tile_fades_out_where_its_neighbour_takes_over() -> None:
    left, right = Axis(30, 20, 0.5).weights
    assert (left[:10] == 1).all() and (right[10:] == 1).all()
    assert (left[10:].diff() < 0).all() and (right[:10].diff() > 0).all()
    assert left[10:].diff().abs().max() < 0.25
    assert left[-1] < 0.01


@pytest.mark.parametrize("size", [(50, 70), (33, 20), (20, 33), (20, 20), (9, 5), (150, 21)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_the_label_map_is_that_of_logits_blended_at_full_size(
    size: tuple[int, int], overlap: float
) -> None:
    image = noise(*size)
    tiling = Tiling.of(image, (20, 20), overlap)
    tiles = map(scores_of, tiling.crops(image))
    prediction = tiling.predict(tiles, partial(decide, probabilities=torch.float16))
    expected = full_size_logits(image, tiling)
    chosen = expected.gather(0, prediction.label_map[None].long())[0]
    assert torch.allclose(chosen, expected.amax(0), atol=1e-4)  # but for ties
    assert (prediction.label_map == expected.argmax(0)).double().mean() > 0.999
    assert prediction.probabilities is not None
    assert torch.allclose(prediction.probabilities.double(), expected.softmax(0), atol=1e-3)


def test_confidence_is_that_of_the_blend() -> None:
    image = noise(50, 40)
    tiling = Tiling.of(image, (20, 20), 0.5)
    tiles = map(scores_of, tiling.crops(image))
    prediction = tiling.predict(tiles, partial(decide, min_confidence=0.9))
    best, label = full_size_logits(image, tiling).softmax(0).max(0)
    assert torch.equal(prediction.label_map.long(), label.where(best >= 0.9, 0))


def test_an_image_that_fits_in_one_tile_is_seen_whole() -> None:
    image = noise(15, 20)
    tiling = Tiling.of(image, (20, 20), 0.25)
    assert (tiling.rows.starts, tiling.columns.starts) == ((0,), (0,))
    prediction = tiling.predict(map(scores_of, tiling.crops(image)))
    assert torch.equal(prediction.label_map, scores_of(image).argmax(0).to(torch.uint8))


@pytest.mark.parametrize("size", [(60, 40), (20, 300)])
def test_tiles_that_are_small_or_overlap_many_times_are_not_kept(size: tuple[int, int]) -> None:
    image = noise(*size)
    tiling = Tiling.of(image, (10, 10), 0.9)
    assert len(tiling.rows.starts) * len(tiling.columns.starts) > 1000
    before: list[weakref.ref[Tensor]] = []

    def counted() -> Iterator[Tensor]:
        for crop in tiling.crops(image):
            scores = scores_of(crop)
            before.append(weakref.ref(scores))
            yield scores
            assert sum(scores() is not None for scores in before[-20:-1]) <= 1

    tiling.predict(counted())
