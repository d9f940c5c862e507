"""Crops of photographs: against the same crop cut out and resized by Pillow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_folders import mapping_of
from PIL import Image
from torch import Tensor

from datasets.labels import IGNORE_INDEX
from datasets.training.augmentation import Augment, AugmentedDataset, RandomCrop
from datasets.training.dataset import CocoSegmentationDataset
from models.prediction import View

WIDE, AS_IT_IS = (0.5, 2.0), Augment()


def pair_of(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A picture of smooth noise, and a label map of blocks of 0..3."""
    chance = np.random.default_rng(seed)
    coarse = Image.fromarray(chance.integers(0, 256, (6, 8, 3), np.uint8))
    picture = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    blocks = Image.fromarray(chance.integers(0, 4, (7, 9), np.uint8))
    labels = np.array(blocks.resize((width, height), Image.Resampling.NEAREST))
    return torch.from_numpy(picture).permute(2, 0, 1), torch.from_numpy(labels)


def crop_by_pillow(
    image: Tensor, label_map: Tensor, size: tuple[int, int], scale: float, down: float, right: float
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Cut out what the crop shows, resize it, and put it on a canvas."""
    boxes = []
    for length, side, place in zip(label_map.shape, size, (down, right), strict=True):
        shown = min(side, max(1, round(length * scale)))
        taken = min(length, max(1, round(shown / scale)))
        boxes.append((shown, taken, round(place * (length - taken)), round(place * (side - shown))))
    (height, rows, top, y), (width, columns, left, x) = boxes
    box = (left, top, left + columns, top + rows)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).crop(box)
    labels = Image.fromarray(label_map.numpy()).crop(box)
    part = np.array(picture.resize((width, height), Image.Resampling.BILINEAR))
    canvas = np.full((*size, 3), part.mean((0, 1)).round(), np.uint8)
    truth = np.full(size, IGNORE_INDEX, np.uint8)
    canvas[y : y + height, x : x + width] = part
    shown_labels = np.array(labels.resize((width, height), Image.Resampling.NEAREST))
    truth[y : y + height, x : x + width] = shown_labels
    return canvas, truth


# Crops inside the photo, wider or higher than it, larger than it; photos wide, tall and tiny.
SHAPES = [
    ((48, 64), (24, 24), 30),
    ((64, 48), (24, 40), 24),
    ((30, 90), (40, 24), 20),
    ((90, 30), (16, 16), 60),
    ((7, 9), (32, 24), 8),
    ((1, 5), (8, 8), 3),
]


@pytest.mark.parametrize(("photo", "size", "shorter_side"), SHAPES)
@pytest.mark.parametrize("seed", range(5))
def test_a_crop_is_what_was_drawn_cut_out_and_resized(
    photo: tuple[int, int], size: tuple[int, int], shorter_side: int, seed: int
) -> None:
    image, label_map = pair_of(*photo, seed)
    crop = RandomCrop(*size, shorter_side, WIDE, AS_IT_IS)
    got, labels = crop(image, label_map, torch.Generator().manual_seed(seed))
    zoom, down, right = torch.rand(3, generator=torch.Generator().manual_seed(seed)).tolist()
    scale = shorter_side / min(photo) * math.exp(math.log(0.5) + zoom * math.log(4))
    canvas, truth = crop_by_pillow(image, label_map, size, scale, down, right)
    assert (got.shape, got.dtype, labels.dtype) == ((3, *size), torch.uint8, torch.uint8)
    assert np.abs(got.permute(1, 2, 0).numpy().astype(int) - canvas).max() <= 1
    # An edge that falls on the middle of a pixel may go either way.
    assert (labels.numpy() == truth).mean() > 0.95
    assert ((labels.numpy() == IGNORE_INDEX) == (truth == IGNORE_INDEX)).all()


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    photo=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    shorter_side=st.integers(1, 80),
)
def test_any_photo_gives_any_crop_and_no_new_label(
    seed: int, photo: tuple[int, int], size: tuple[int, int], shorter_side: int
) -> None:
    image, label_map = pair_of(*photo, seed)
    before = image.clone(), label_map.clone()
    chance = torch.Generator().manual_seed(seed)
    got, labels = RandomCrop(*size, shorter_side, WIDE, AS_IT_IS)(image, label_map, chance)
    assert (got.shape, labels.shape) == ((3, *size), size)
    assert set(labels.unique().tolist()) <= {*label_map.unique().tolist(), IGNORE_INDEX}
    assert (labels != IGNORE_INDEX).any()
    assert torch.equal(image, before[0]) and torch.equal(label_map, before[1])


@pytest.mark.parametrize("seed", range(8))
def test_image_and_labels_of_a_crop_stay_aligned(seed: int) -> None:
    label_map = pair_of(60, 80, seed)[1] // 2
    image = (255 * label_map).expand(3, 60, 80)
    chance = torch.Generator().manual_seed(seed)
    got, labels = RandomCrop(40, 50, 48, WIDE, Augment(flip=0.5, rotation=10))(
        image, label_map, chance
    )
    known = labels != IGNORE_INDEX
    assert ((got[0] > 127) == labels)[known].float().mean() > 0.9


def test_scales_are_drawn_evenly_in_their_logarithm_and_places_everywhere() -> None:
    """A photo whose columns tell their number: what a crop shows tells its scale and place."""
    image = torch.arange(200, dtype=torch.uint8).expand(3, 100, 200)
    label_map = torch.zeros(100, 200, dtype=torch.uint8)
    crop, scales, lefts = RandomCrop(20, 20, 100, WIDE, AS_IT_IS), [], []
    for seed in range(400):
        got, _ = crop(image, label_map, torch.Generator().manual_seed(seed))
        row = got[0, 10].float()
        scales.append(19 / float(row[-1] - row[0]))
        lefts.append(float(row[0]) / (200 - 20 / scales[-1]))
    logarithms = np.log2(scales)
    assert np.percentile(logarithms, [0, 50, 100]) == pytest.approx([-1, 0, 1], abs=0.15)
    assert np.percentile(lefts, [2, 50, 98]) == pytest.approx([0, 0.5, 1], abs=0.1)


def test_other_changes_are_of_the_crop() -> None:
    image, label_map = pair_of(40, 40)
    flipped, labels = RandomCrop(40, 40, 40, (1.0, 1.0), Augment(flip=1))(
        image, label_map, torch.Generator().manual_seed(0)
    )
    assert torch.equal(flipped, image.flip(-1)) and torch.equal(labels, label_map.flip(-1))
    calls: list[torch.Size] = []

    def foreign(image: Tensor, label_map: Tensor, _: torch.Generator) -> tuple[Tensor, Tensor]:
        calls.append(image.shape)
        return image, label_map

    chance = torch.Generator().manual_seed(0)
    assert RandomCrop(9, 8, 40, (1.0, 1.0), foreign)(image, label_map, chance)[1].shape == (9, 8)
    assert calls == [(3, 9, 8)]


def test_photos_are_kept_no_larger_than_crops_can_use(tmp_path: Path) -> None:
    for shape, expected in (((60, 90), (20, 30)), ((90, 60), (30, 20)), ((19, 70), (19, 70))):
        assert View(16, 16, 20, enlarge=False)(pair_of(*shape)[0]).shape == (3, *expected)


def test_a_drawn_crop_is_the_same_in_any_process(tmp_path: Path) -> None:
    image, label_map = pair_of(50, 70)
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    Image.fromarray(label_map.numpy()).save(tmp_path / "a_mask.png")
    pairs = [(tmp_path / "a.png", tmp_path / "a_mask.png")]
    crop = RandomCrop(16, 24, 32, WIDE, AS_IT_IS)
    plain = CocoSegmentationDataset(pairs, mapping_of(0, 1, 2, 3), View(16, 16, 64, enlarge=False))
    draws = [(0, 1), (0, 2), (0, 3)]
    drawn = AugmentedDataset(plain, crop)
    loader = torch.utils.data.DataLoader(drawn, batch_sampler=[draws], num_workers=1)
    ((images, labels),) = loader
    for number, draw in enumerate(draws):
        here = drawn[draw]
        assert torch.equal(images[number], here[0]) and torch.equal(labels[number], here[1])
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_a_view_keeps_the_shape_of_a_photo_and_bounds_a_panorama() -> None:
    view = View(16, 16, 20)
    for size, expected in (
        ((40, 60), (20, 30)),
        ((60, 40), (30, 20)),
        ((10, 10), (20, 20)),
        ((10, 100), (8, 80)),  # four times as long at most
        ((3, 3000), (1, 80)),
    ):
        assert view.size_of(*size) == expected
        assert view(torch.zeros(3, *size, dtype=torch.uint8)).shape == (3, *expected)
