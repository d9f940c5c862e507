"""Training on random crops of photographs at their own shape, from their own pixels.

The standard of the field (as in torchvision's reference for segmentation): a photo at a random
scale, of which a window of the network's size is shown. Each crop is one resampling of stored
pixels, so that small things are seen as sharply as they were taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from datasets.labels import IGNORE_INDEX
from datasets.training.augmentation import Augmenting


@dataclass(frozen=True)
class RandomCrop:
    """A crop of one size from an image at a random scale; then other changes of that crop.

    Where the image is smaller than the crop, it lies anywhere in it, around it its mean colour and
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
        """Crop and change one sample.

        Args:
            image: (3, H, W) uint8 RGB.
            label_map: (H, W) uint8.
            generator: the only source of chance.

        Returns:
            (3, height, width) and (height, width) uint8.
        """
        zoom, down, right = torch.rand(3, generator=generator).tolist()
        low, high = self.zoom
        scale = self.shorter_side / min(label_map.shape) * low * (high / low) ** zoom
        rows, shown_rows = _cut(label_map.shape[0], self.height, scale, down)
        columns, shown_columns = _cut(label_map.shape[1], self.width, scale, right)
        size = [shown_rows.stop - shown_rows.start, shown_columns.stop - shown_columns.start]
        part = F.resize(image[:, rows, columns], size, InterpolationMode.BILINEAR, antialias=True)
        labels = F.resize(label_map[None, rows, columns], size, InterpolationMode.NEAREST_EXACT)[0]
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

    Args:
        length: pixels of the image.
        size: pixels of the crop.
        scale: pixels of the crop for one of the image.
        chance: in 0..1, where in the room that there is.
    """
    shown = min(size, max(1, round(length * scale)))
    taken = min(length, max(1, round(shown / scale)))
    first, before = round(chance * (length - taken)), round(chance * (size - shown))
    return slice(first, first + taken), slice(before, before + shown)
