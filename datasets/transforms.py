"""Transforms of an image and its label map, together: (image, label_map) -> (image, label_map)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F


@dataclass(frozen=True)
class Resize:
    """Resize both to ``image_size`` x ``image_size`` pixels, whatever their shape.

    The image bilinearly with antialiasing; the label map by its nearest pixel, which invents no
    label. "Nearest exact" takes the pixel centres where the bilinear filter has them; torch's
    plain "nearest", which torchvision uses for masks, is off by up to half a pixel.
    """

    image_size: int

    def __call__(self, image: Tensor, label_map: Tensor) -> tuple[Tensor, Tensor]:
        """(3, H, W) uint8 and (H, W) uint8 -> (3, S, S) uint8 and (S, S) uint8."""
        size = [self.image_size, self.image_size]
        image = F.resize(image, size, InterpolationMode.BILINEAR, antialias=True)
        label_map = F.resize(label_map[None], size, InterpolationMode.NEAREST_EXACT)[0]
        return image, label_map


def train_preset(image_size: int) -> Resize:
    """What a training sample goes through, for square inputs of ``image_size`` pixels."""
    return Resize(image_size)


def eval_preset(image_size: int) -> Resize:
    """What a validation sample goes through: nothing random."""
    return Resize(image_size)
