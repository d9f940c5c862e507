"""CocoSegmentationDataset: pairs of files -> pairs of tensors at one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from datasets.images import orientation_of, to_rgb, turn
from datasets.label_mapping import LabelMapping, read_label_map

View = Callable[[Tensor], Tensor]  # image (3, H, W) uint8 -> (3, h, w) uint8, for the network


@dataclass(frozen=True)
class CocoSegmentationDataset(Dataset[tuple[Tensor, Tensor]]):
    """By index (image, label_map): (3, H, W) uint8 RGB, and (H, W) uint8 label indices.

    Labels are IGNORE_INDEX where nothing is known.

    Attributes:
        pairs: (image path, mask path) of each item.
        label_mapping: what the masks' pixel values mean; for validation the one of training.
        view: of images, None: as they are stored. Its ``repr`` and ``str`` tell it from others.
        keep_labels: leave label maps as they are stored, to be scored at their own size; else they
            have the size of what is shown.
    """

    pairs: Sequence[tuple[Path, Path]]
    label_mapping: LabelMapping
    view: View | None = None
    keep_labels: bool = False

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Read and resize one pair.

        Raises:
            ValueError: a file cannot be read, the sizes differ, or the mask has an unknown value.
        """
        image_path, mask_path = self.pairs[index]
        label_map = torch.from_numpy(read_label_map(mask_path, self.label_mapping))
        image = read_image(image_path, label_map.shape)
        if image.shape[1:] != label_map.shape:
            size, of_mask = ("x".join(map(str, each.shape[-2:])) for each in (image, label_map))
            raise ValueError(
                f"{image_path} is {size} (height x width) but its mask {mask_path} is {of_mask}; "
                "generate the masks again for these images"
            )
        if self.view:
            image = self.view(image)
            if not self.keep_labels:
                label_map = resize_labels(label_map, list(image.shape[1:]))
        return image, label_map


def read_image(path: Path, size: tuple[int, ...] | None = None) -> Tensor:
    """Read a picture as (3, H, W) uint8 RGB; see ``images.to_rgb``.

    Args:
        path: the file.
        size: (height, width) of its mask. COCO annotates the pixels as stored, so an EXIF
            orientation is applied only where the mask does not fit without.

    Raises:
        ValueError: the file is missing, broken, or no picture.
    """
    try:
        with Image.open(path) as image:
            orientation, pixels = orientation_of(image), to_rgb(image)
            if size and pixels.shape[:2] != size:
                pixels = turn(pixels, orientation)
            return torch.from_numpy(pixels).permute(2, 0, 1)  # H, W, 3 -> 3, H, W
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from error


def resize_labels(label_map: Tensor, size: list[int]) -> Tensor:
    """(H, W) uint8 -> (height, width) uint8 by the nearest pixel, which invents no label.

    "Nearest exact" takes the pixel centres where a bilinear filter has them; torch's plain
    "nearest", which torchvision uses for masks, is off by up to half a pixel.
    """
    resized: Tensor = F.resize(label_map[None], size, InterpolationMode.NEAREST_EXACT)[0]
    return resized
