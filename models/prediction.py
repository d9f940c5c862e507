"""From a photograph to what the network takes, and from what it gives to a label map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF


def resize_image(image: Tensor, image_size: int) -> Tensor:
    """Stretch an image to the square that the network was trained on.

    Training resizes in the same way; a network is only as good as that agreement.

    Args:
        image: (3, H, W) uint8 RGB.
        image_size: height and width of the result, in pixels.

    Returns:
        (3, image_size, image_size) uint8, bilinear with antialiasing.
    """
    resized: Tensor = TF.resize(
        image, [image_size, image_size], InterpolationMode.BILINEAR, antialias=True
    )
    return resized


def label_map_from_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The most likely label of every pixel of the original image.

    Scores are interpolated and the best taken afterwards: enlarging a finished label map would
    give stairs for edges.

    Args:
        logits: (C, h, w) scores of one image, at the network's size.
        size: (height, width) of the original image.

    Returns:
        (height, width) uint8 label map on the device of ``logits``; of equal scores, the lowest
        label.
    """
    enlarged = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)
    return enlarged[0].argmax(dim=0).to(torch.uint8)


@torch.inference_mode()
def predict(
    model: nn.Module, images: Tensor, sizes: Sequence[tuple[int, int]], device: torch.device
) -> list[Tensor]:
    """Label maps of a batch of resized images, each at its original size.

    Args:
        model: on ``device``, in evaluation mode.
        images: (N, 3, image_size, image_size) uint8 RGB, as ``resize_image`` makes them.
        sizes: (height, width) of each original image.
        device: where to compute.

    Returns:
        N label maps, (height, width) uint8 each, on the CPU.
    """
    logits = model(images.to(device)).float()
    pairs = zip(logits, sizes, strict=True)
    return [label_map_from_logits(scores, size).cpu() for scores, size in pairs]
