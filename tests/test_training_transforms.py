from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from datasets.labels import IGNORE_INDEX
from datasets.training.augmentation import Augment, Augmenting, build_augment
from datasets.training.choices import AUGMENTS
from datasets.training.dataset import resize_labels
from models.prediction import View


def under_the_centre(length: int, size: int, nudge: float) -> list[int]:
    """For each new pixel, the old one under its centre; ``nudge`` decides when that is an edge."""
    centres = [(new + 0.5) * length / size + nudge for new in range(size)]
    return [min(max(int(centre), 0), length - 1) for centre in centres]


@settings(max_examples=50, deadline=None)
@given(length=st.integers(2, 40), size=st.integers(2, 40))
def test_each_label_is_the_one_under_the_new_pixels_centre(length: int, size: int) -> None:
    label_map = torch.arange(length, dtype=torch.uint8).expand(length, length)  # value = column
    for turned in (label_map, label_map.T):
        resized = resize_labels(turned, [size, size])
        columns = resized if turned is label_map else resized.T
        for row in columns.tolist():
            allowed = zip(
                under_the_centre(length, size, -1e-4),
                under_the_centre(length, size, 1e-4),
                strict=True,
            )
            assert all(low <= got <= high for got, (low, high) in zip(row, allowed, strict=True))


def test_the_image_is_resized_as_pillow_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    resized = View.of(16)(image)
    expected = np.array(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR))
    difference = resized.permute(1, 2, 0).numpy().astype(int) - expected.astype(int)
    assert np.abs(difference).max() <= 1
    assert resized.dtype == torch.uint8


def sample(
    size: int = 24, seed: int = 0, width: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth random picture, and a label map of blocks of 0..3 with some ignored."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (3, 5, 5), generator=generator).to(torch.uint8)
    labels = torch.randint(0, 4, (1, 6, 6), generator=generator).to(torch.uint8)
    labels[0, 0, 0] = IGNORE_INDEX
    nearest = InterpolationMode.NEAREST_EXACT
    shape = [size, width or size]
    return F.resize(coarse, shape), F.resize(labels, shape, nearest)[0]


def fix_chance(monkeypatch: pytest.MonkeyPatch, **chance: float) -> None:
    """Let chance say these numbers in 0..1, and the middle for all others."""
    names = ["flip", "turn", "zoom", "right", "down"]
    names += ["brightness", "contrast", "saturation", "hue"]
    assert chance.keys() <= set(names)
    drawn = torch.tensor([chance.get(name, 0.5) for name in names])
    monkeypatch.setattr(torch, "rand", lambda *_, **__: drawn)


def augmented(
    augment: Augmenting, image: torch.Tensor, label_map: torch.Tensor, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    return augment(image, label_map, torch.Generator().manual_seed(seed))


GEOMETRY = Augment(flip=0.5, rotation=45, zoom=(0.5, 2))


@pytest.mark.parametrize("name", AUGMENTS)
def test_augmenting_keeps_shapes_types_and_the_given_tensors(name: str) -> None:
    image, label_map = sample()
    before = image.clone(), label_map.clone()
    new_image, new_labels = augmented(build_augment(name), image, label_map)
    assert (new_image.shape, new_image.dtype) == (image.shape, torch.uint8)
    assert (new_labels.shape, new_labels.dtype) == (label_map.shape, torch.uint8)
    assert torch.equal(image, before[0])
    assert torch.equal(label_map, before[1])


def test_no_augmentation_changes_nothing() -> None:
    image, label_map = sample()
    new_image, new_labels = augmented(build_augment("none"), image, label_map)
    assert torch.equal(new_image, image)
    assert torch.equal(new_labels, label_map)


@pytest.mark.parametrize("size", [2, 7, 24, 64])
def test_strengths_that_chance_leaves_at_zero_change_nothing(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    image, label_map = sample(size)
    fix_chance(monkeypatch, flip=1)
    middle = Augment(0.5, 30, (0.5, 2), 0.5, 0.5, 0.5, 90)
    new_image, new_labels = augmented(middle, image, label_map)
    assert torch.equal(new_image, image)
    assert torch.equal(new_labels, label_map)


@pytest.mark.parametrize("name", ["light", "strong"])
def test_the_generator_alone_decides_the_augmentation(name: str) -> None:
    state = torch.get_rng_state()
    first, again, other = (
        augmented(build_augment(name), *sample(), seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(state, torch.get_rng_state())


def test_a_flip_swaps_left_and_right_of_both() -> None:
    image, label_map = sample()
    new_image, new_labels = augmented(Augment(flip=1), image, label_map)
    assert torch.equal(new_image, image.flip(-1))
    assert torch.equal(new_labels, label_map.flip(-1))


def test_a_flip_comes_as_often_as_asked() -> None:
    image, label_map = sample(4)
    flipped = [
        torch.equal(augmented(Augment(flip=0.2), image, label_map, seed)[0], image.flip(-1))
        for seed in range(500)
    ]
    assert 0.13 < np.mean(flipped) < 0.27


@pytest.mark.parametrize("width", [24, 60])
@pytest.mark.parametrize(("turn", "zoom"), [(0.0, 0.5), (1.0, 0.5), (0.8, 0.0), (0.3, 1.0)])
def test_rotation_and_zoom_are_those_of_torchvision(
    monkeypatch: pytest.MonkeyPatch, turn: float, zoom: float, width: int
) -> None:
    image, label_map = sample(width=width)
    fix_chance(monkeypatch, flip=1, turn=turn, zoom=zoom)
    new_image, new_labels = augmented(GEOMETRY, image, label_map)
    turned = partial(
        F.affine,
        angle=-45 * (2 * turn - 1),  # clockwise; ours turns the other way
        translate=[0, 0],
        scale=0.5 * 4**zoom,
        shear=[0, 0],
    )
    assert (new_labels == turned(label_map[None], fill=IGNORE_INDEX)[0]).float().mean() > 0.99
    bilinear = InterpolationMode.BILINEAR
    inside = turned(torch.ones(1, 24, width), interpolation=bilinear) == 1
    difference = new_image - turned(image.float(), interpolation=bilinear)
    assert (difference.abs() * inside).max() <= 1
    assert inside.float().mean() > 0.1


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(2, 40))
def test_augmenting_invents_no_label(seed: int, size: int) -> None:
    image, label_map = sample(size, seed)
    _, labels = augmented(GEOMETRY, image, label_map, seed)
    assert set(labels.unique().tolist()) <= {*label_map.unique().tolist(), IGNORE_INDEX}


@pytest.mark.parametrize("seed", range(5))
def test_image_and_label_map_move_together(seed: int) -> None:
    label_map = sample(64, seed)[1].clamp(max=3)  # none is ignored
    image = (60 * label_map).expand(3, 64, 64)
    image, labels = augmented(GEOMETRY, image, label_map, seed)
    known = labels != IGNORE_INDEX
    assert known.float().mean() > 0.15
    assert ((image[0] / 60).round() == labels)[known].float().mean() > 0.85


@pytest.mark.parametrize("seed", range(5))
def test_uncovered_places_are_ignored_and_have_the_mean_colour(seed: int) -> None:
    image, label_map = sample(32)
    new_image, labels = augmented(Augment(zoom=(0.5, 0.5), rotation=45), image, label_map * 0, seed)
    assert (labels == IGNORE_INDEX).float().mean() == pytest.approx(3 / 4, abs=0.15)
    # One pixel off the edge, where the picture and what is beyond it are not blended.
    near = torch.nn.functional.max_pool2d((labels == 0).float()[None], 3, 1, 1)[0] > 0
    mean = image.float().mean(dim=(1, 2)).round()
    assert (~near).any()
    assert (new_image.float()[:, ~near] == mean[:, None]).all()


def test_zooming_in_shows_a_part_and_uncovers_nothing() -> None:
    columns = torch.arange(32, dtype=torch.uint8).expand(32, 32)
    starts = []
    for seed in range(60):
        image, labels = augmented(Augment(zoom=(2, 2)), columns.expand(3, 32, 32), columns, seed)
        assert labels.max() < 32
        row = labels[0].long()
        assert torch.equal(row, labels[-1].long())
        assert int(row[-1] - row[0]) in (15, 16)
        middle = slice(1, -1)  # the outermost pixels are half beyond the edge
        assert (image[0, 16].float() - row)[middle].abs().max() <= 1
        starts.append(int(row[0]))
    assert min(starts) <= 1
    assert max(starts) >= 14


def test_zooming_out_keeps_the_whole_picture_and_places_it_anywhere() -> None:
    label_map = torch.zeros(32, 32, dtype=torch.uint8)
    tops = []
    for seed in range(60):
        _, labels = augmented(
            Augment(zoom=(0.5, 0.5)), label_map.expand(3, 32, 32), label_map, seed
        )
        assert (labels == 0).sum() == pytest.approx(256, abs=33)
        tops.append(int((labels == 0).any(dim=1).int().argmax()))
    assert min(tops) <= 1
    assert max(tops) >= 15


def test_the_picture_is_flipped_first_and_then_turned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, label_map = sample()
    fix_chance(monkeypatch, turn=0.8, zoom=0.6)
    flipped = augmented(Augment(1, 45, (0.5, 2)), image, label_map)
    turned = augmented(Augment(0, 45, (0.5, 2)), image.flip(-1), label_map.flip(-1))
    assert (flipped[0].int() - turned[0].int()).abs().max() <= 1
    assert (flipped[1] == turned[1]).float().mean() > 0.99


@pytest.mark.parametrize(("right", "down"), [(0, 0), (1, 0), (0, 1), (0.25, 1)])
def test_the_frame_moves_right_and_down_by_chances_of_their_own(
    monkeypatch: pytest.MonkeyPatch, right: float, down: float
) -> None:
    label_map = torch.arange(256, dtype=torch.uint8).view(16, 16)
    fix_chance(monkeypatch, right=right, down=down)
    _, labels = augmented(Augment(zoom=(2, 2)), torch.zeros(3, 16, 16).byte(), label_map)
    top, left = int(8 * down), int(8 * right)
    expected = label_map[top : top + 8, left : left + 8]
    assert torch.equal(labels, expected.repeat_interleave(2, 0).repeat_interleave(2, 1))


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_brightness_is_that_of_torchvision(monkeypatch: pytest.MonkeyPatch, chance: float) -> None:
    image, label_map = sample()
    fix_chance(monkeypatch, brightness=chance)
    got, labels = augmented(Augment(brightness=0.5), image, label_map)
    expected = F.adjust_brightness(image, 1 + 0.5 * (2 * chance - 1))
    assert (got.int() - expected.int()).abs().max() <= 1
    assert torch.equal(labels, label_map)


def test_no_saturation_is_gray(monkeypatch: pytest.MonkeyPatch) -> None:
    image, label_map = sample()
    fix_chance(monkeypatch, saturation=0)
    got, _ = augmented(Augment(saturation=1), image, label_map)
    expected = F.rgb_to_grayscale(image, num_output_channels=3)
    assert (got.int() - expected.int()).abs().max() <= 1


def test_no_contrast_is_the_mean_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    image, label_map = sample()
    fix_chance(monkeypatch, contrast=0)
    got, _ = augmented(Augment(contrast=1), image, label_map)
    assert (got.float() - image.float().mean(dim=(1, 2), keepdim=True)).abs().max() <= 0.5


def test_a_third_of_a_turn_of_hue_makes_red_green_and_is_as_bright(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = torch.tensor([140, 100, 90], dtype=torch.uint8).view(3, 1, 1).expand(3, 8, 8)
    fix_chance(monkeypatch, hue=1)
    got, _ = augmented(Augment(hue=120), image, torch.zeros(8, 8, dtype=torch.uint8))
    red, green, blue = got[:, 4, 4].tolist()
    assert abs(green - blue - (140 - 100)) <= 1
    assert abs(blue - red - (100 - 90)) <= 1
    gray = F.rgb_to_grayscale(torch.stack((image, got)))[:, 0, 4, 4].int()
    assert abs(gray[0] - gray[1]) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_grays_stay_gray(seed: int) -> None:
    image = torch.arange(256, dtype=torch.uint8).view(16, 16).expand(3, 16, 16)
    got, _ = augmented(build_augment("strong"), image, torch.zeros(16, 16, dtype=torch.uint8), seed)
    assert (got.int() - got[:1].int()).abs().max() <= 1
