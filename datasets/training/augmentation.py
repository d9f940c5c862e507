"""Paired transforms of image and label map, and augmented samples by draw.

A sample depends on the seed and on what was drawn, not on who computes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torch.utils.data import Dataset

from datasets.labels import IGNORE_INDEX
from datasets.training.choices import AUGMENTS

# (image, label_map, the only source of chance) -> the same two, changed; as ``Augment`` does it
Augmenting = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]

LUMA = torch.tensor([0.299, 0.587, 0.114])  # how bright red, green and blue look (ITU-R BT.601)


class Draw(NamedTuple):
    """One sample of one epoch: what a sampler yields and an AugmentedDataset takes.

    Attributes:
        index: of the pair, 0 or more.
        epoch: 0 or more.
        repeat: how often this epoch drew this index before; a pair that is drawn twice is not
            augmented twice alike.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    epoch: int
    repeat: int


class AugmentedDataset(Dataset[tuple[Tensor, Tensor]]):
    """The items of another dataset, augmented by draw.

    An item is what ``augment`` makes of (image, label_map). Its chance comes from the seed and
    the draw alone, so the same draw gives the same item in any process and in any order.

    Args:
        dataset: gives (image, label_map) by index, (3, H, W) and (H, W), both uint8.
        augment: see ``build_augment``.
        seed: 0 or more.
    """

    def __init__(
        self, dataset: Dataset[tuple[Tensor, Tensor]], augment: Augmenting, seed: int
    ) -> None:
        self.dataset = dataset
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        image, label_map = self.dataset[draw.index]
        return self.augment(image, label_map, generator_of(self.seed, draw))


def generator_of(seed: int, draw: Draw) -> torch.Generator:
    """A generator of its own for each draw of each seed."""
    key = np.random.SeedSequence((seed, draw.epoch, draw.index, draw.repeat))
    return torch.Generator().manual_seed(int(key.generate_state(1, np.uint64)[0]))


@dataclass(frozen=True)
class Augment:
    """Random changes that leave the meaning of a picture as it is.

    Flip, rotation and zoom are one resampling of each tensor, so that nothing is blurred twice.
    What they uncover is the image's mean colour, and IGNORE_INDEX in the label map: nobody knows
    what was beyond the edge. Colours change by one matrix. All numbers are drawn evenly from
    their range, the zoom evenly in its logarithm.

    Attributes:
        flip: probability in 0..1 of swapping left and right.
        rotation: up to so many degrees either way.
        zoom: smallest and largest factor: below 1 the picture shrinks, above 1 it is cropped. It
            stays in the frame, or the frame in it, but lies anywhere.
        brightness: factor on all values, 1 +- up to this.
        contrast: factor on what differs from the image's mean colour, 1 +- up to this.
        saturation: factor on what differs from gray, 1 +- up to this.
        hue: turn of all colours, up to so many degrees either way.
    """

    flip: float = 0.0
    rotation: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __call__(
        self, image: Tensor, label_map: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Augment one sample.

        Args:
            image: (3, H, W) uint8 RGB.
            label_map: (H, W) uint8.
            generator: the only source of chance.

        Returns:
            Tensors of the same shapes and types; the given ones are not changed.
        """
        if self == Augment():
            return image, label_map
        chance = torch.rand(9, generator=generator).tolist()
        contrast, colors = self._colors(*chance[5:])
        mean = image.float().mean(dim=(1, 2), keepdim=True)
        centred, moved = image - mean, label_map
        if self.rotation or self.zoom != (1.0, 1.0):
            geometry = self._geometry(label_map.shape[0] / label_map.shape[1], *chance[:5])
            grid = affine_grid(geometry[None], [1, 3, *label_map.shape], align_corners=False)
            # Less the mean, and less IGNORE_INDEX: the zeros beyond the edge become these.
            centred = grid_sample(centred[None], grid, "bilinear", "zeros", False)[0]
            known = (label_map.float() - IGNORE_INDEX)[None, None]
            moved = grid_sample(known, grid, "nearest", "zeros", False)[0, 0] + IGNORE_INDEX
        elif chance[0] < self.flip:  # a tenth of the time
            centred, moved = centred.flip(-1), label_map.flip(-1)
        pixels = colors @ (centred * contrast + mean).flatten(1)  # 3, H*W
        pixels = pixels.clamp_(0, 255).round_().view_as(image)
        return pixels.to(torch.uint8), moved.to(torch.uint8)

    def _geometry(
        self, shape: float, flip: float, turn: float, zoom: float, right: float, down: float
    ) -> Tensor:
        """(2, 3) matrix from places in the result to places in the input, both -1..1.

        Args:
            shape: height by width; a turn keeps angles in pixels.
            flip, turn, zoom, right, down: in 0..1, what chance said.
        """
        low, high = self.zoom
        scale = 1 / (low * (high / low) ** zoom)
        radians = math.radians(self.rotation * (2 * turn - 1))
        cos, sin = scale * math.cos(radians), scale * math.sin(radians)
        mirror = -1 if flip < self.flip else 1
        free = abs(1 - scale)  # how far the frame can move before it leaves the picture
        x, y = free * (2 * right - 1), free * (2 * down - 1)
        return torch.tensor([[mirror * cos, -mirror * sin * shape, x], [sin / shape, cos, y]])

    def _colors(
        self, brightness: float, contrast: float, saturation: float, hue: float
    ) -> tuple[float, Tensor]:
        """The factor on contrast, and the (3, 3) matrix of the rest; from what chance said."""

        def factor(strength: float, chance: float) -> float:
            return 1 + strength * (2 * chance - 1)

        gray = LUMA.expand(3, 3)  # every channel becomes the brightness
        colorful = torch.eye(3) - gray
        turn = _rotation_about_gray(math.radians(self.hue * (2 * hue - 1)))
        matrix = gray + factor(self.saturation, saturation) * colorful @ turn
        return factor(self.contrast, contrast), factor(self.brightness, brightness) * matrix


def _rotation_about_gray(radians: float) -> Tensor:
    """(3, 3) rotation of RGB space about the axis of the grays (Rodrigues' formula)."""
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return torch.eye(3) + math.sin(radians) * cross + (1 - math.cos(radians)) * cross @ cross


def build_augment(name: str, **changes: Any) -> Augmenting:
    """The augmentation called ``name``, with other settings than those of its row.

    Raises:
        ValueError: ``name`` is not in AUGMENTS.
    """
    if name not in AUGMENTS:
        raise ValueError(f"unknown augmentation {name!r}; known are {', '.join(AUGMENTS)}")
    row = AUGMENTS[name]
    augment: Augmenting = resolve_name(row.builder)(**{**row.settings, **changes})
    return augment
