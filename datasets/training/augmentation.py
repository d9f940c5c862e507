"""Paired transforms of image and label map, and augmented samples by draw."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torch.utils.data import Dataset
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from datasets.labels import IGNORE_INDEX
from datasets.training.choices import AUGMENTS
from datasets.training.dataset import resize_labels

# (image (3, H, W) uint8 RGB, label map (H, W) uint8, the only source of chance) -> the two, changed
# to tensors of the same types; those given stay what they are.
Augmenting = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]

LUMA = torch.tensor([0.299, 0.587, 0.114])  # how bright red, green and blue look (ITU-R BT.601)
# A turn by 90 degrees about the axis of the grays, and nothing along it.
AROUND_GRAY = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)

Draw = tuple[int, int]  # the index of a pair, and the seed of all that chance does to it


@dataclass(frozen=True)
class AugmentedDataset(Dataset[tuple[Tensor, Tensor]]):
    """The items of another dataset, augmented by draw: the same in any process and in any order.

    Attributes:
        dataset: gives (image, label_map) by index, (3, H, W) and (H, W), both uint8.
        augment: see ``build_augment``.
    """

    dataset: Dataset[tuple[Tensor, Tensor]]
    augment: Augmenting

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        index, seed = draw
        return self.augment(*self.dataset[index], torch.Generator().manual_seed(seed))


def seed_of(*key: int) -> int:
    """A seed that depends on every number of ``key``, each 0 or more."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class Augment:
    """Random changes that leave the meaning of a picture as it is, of the same size.

    Flip, rotation and zoom are one resampling of each tensor. What they uncover is the image's mean
    colour, and IGNORE_INDEX in the label map. Colours change by one matrix. All numbers are drawn
    evenly from their range, the zoom evenly in its logarithm.

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
        """Augment one sample; see ``Augmenting``."""
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

        ``shape`` is height by width, as a turn keeps angles in pixels; the rest is chance, 0..1.
        """
        low, high = self.zoom
        scale = 1 / (low * (high / low) ** zoom)
        radians = math.radians(self.rotation * (2 * turn - 1))
        cos, sin = scale * math.cos(radians), scale * math.sin(radians)
        mirror = -1 if flip < self.flip else 1
        free = abs(1 - scale)  # how far the frame can move before it leaves the picture
        x, y = free * (2 * right - 1), free * (2 * down - 1)
        return torch.tensor([[mirror * cos, -mirror * sin * shape, x], [sin / shape, cos, y]])

    def _colors(self, *chance: float) -> tuple[float, Tensor]:
        """The factor on contrast, and the (3, 3) matrix of the rest; from what chance said."""
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        changes = (s * (2 * each - 1) for s, each in zip(strengths, chance, strict=True))
        brightness, contrast, saturation, hue = changes
        gray = LUMA.expand(3, 3)  # every channel becomes the brightness
        sin, cos = math.sin(math.radians(hue)), math.cos(math.radians(hue))
        turn = torch.eye(3) + sin * AROUND_GRAY + (1 - cos) * AROUND_GRAY @ AROUND_GRAY  # Rodrigues
        matrix = gray + (1 + saturation) * (torch.eye(3) - gray) @ turn
        return 1 + contrast, (1 + brightness) * matrix


@dataclass(frozen=True)
class RandomCrop:
    """A crop of one size from an image of any, at a random scale; then other changes of that crop.

    As in torchvision's reference for segmentation, but by one resampling of stored pixels. Where
    the image is smaller than the crop, it lies anywhere in it, around it its mean colour and
    IGNORE_INDEX. Scale and place are drawn evenly, the scale in its logarithm.

    Attributes:
        height, width: of the crop, pixels.
        shorter_side: pixels that the image's shorter side has where the zoom is 1.
        zoom: the smallest and the largest.
        augment: what is then done to the crop.
    """

    height: int
    width: int
    shorter_side: int
    zoom: tuple[float, float]
    augment: Augmenting

    def __call__(
        self, image: Tensor, label_map: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Crop and change one sample; see ``Augmenting``."""
        zoom, down, right = torch.rand(3, generator=generator).tolist()
        low, high = self.zoom
        scale = self.shorter_side / min(label_map.shape) * low * (high / low) ** zoom
        rows, shown_rows = _cut(label_map.shape[0], self.height, scale, down)
        columns, shown_columns = _cut(label_map.shape[1], self.width, scale, right)
        size = [shown_rows.stop - shown_rows.start, shown_columns.stop - shown_columns.start]
        part = F.resize(image[:, rows, columns], size, InterpolationMode.BILINEAR, antialias=True)
        labels = resize_labels(label_map[rows, columns], size)
        if size != [self.height, self.width]:
            mean = part.float().mean(dim=(1, 2), keepdim=True).round().to(torch.uint8)
            crop = mean.repeat(1, self.height, self.width)
            unknown = torch.full((self.height, self.width), IGNORE_INDEX, dtype=torch.uint8)
            crop[:, shown_rows, shown_columns] = part
            unknown[shown_rows, shown_columns] = labels
            part, labels = crop, unknown
        return self.augment(part, labels, generator)


def _cut(length: int, size: int, scale: float, chance: float) -> tuple[slice, slice]:
    """Along one axis: which pixels of the image are taken, and which of the crop they become.

    ``scale`` is pixels of the crop for one of the image; ``chance`` says where there is room.
    """
    shown = min(size, max(1, round(length * scale)))
    taken = min(length, max(1, round(shown / scale)))
    first, before = round(chance * (length - taken)), round(chance * (size - shown))
    return slice(first, first + taken), slice(before, before + shown)


def build_augment(
    name: str, crop_size: tuple[int, int] = (0, 0), shorter_side: int | None = None
) -> Augmenting:
    """The augmentation called ``name``, a key of AUGMENTS.

    With a ``shorter_side`` it is one of crops of (height, width) ``crop_size``, which take over its
    zoom; see ``RandomCrop``.
    """
    row = AUGMENTS[name]
    settings = dict(row.settings)
    zoom = settings.pop("zoom", (1.0, 1.0)) if shorter_side else None
    augment: Augmenting = resolve_name(row.builder)(**settings)
    return RandomCrop(*crop_size, shorter_side, zoom, augment) if shorter_side and zoom else augment
