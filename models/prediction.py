"""From a photograph to what the network takes, and from what it gives to a label map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as TF

# The scores of one label, by its index: (H, W) float32. All at once would be 40 bytes a pixel for
# ten labels, and a photograph may have a hundred million pixels.
Plane = Callable[[int], Tensor]

MOST_TIMES = 4  # the shorter side of an image, the longer one has


@dataclass(frozen=True)
class Prediction:
    """What is known about the pixels of one image.

    Attributes:
        label_map: (H, W) uint8 label indices, on the CPU.
        probabilities: (C, H, W) of each label, on the CPU: float16 in 0..1, or uint8 in 0..255
            for 0..1; None if nobody asked.
    """

    label_map: Tensor
    probabilities: Tensor | None = None


@dataclass(frozen=True)
class View:
    """How a network is shown an image, in training as later: stretched to one size, or at a scale.

    Attributes:
        height, width: of what the network was trained on, in pixels.
        shorter_side: of an image that keeps its shape, in pixels; None: it is stretched to
            ``height`` x ``width``. A side that would be over ``MOST_TIMES`` as long has so much,
            and the other one less: a panorama must fit in memory.
        enlarge: whether an image that is smaller is made larger.
    """

    height: int
    width: int
    shorter_side: int | None = None
    enlarge: bool = True

    @classmethod
    def of(
        cls, image_size: int | Sequence[int], shorter_side: int | None = None, enlarge: bool = True
    ) -> View:
        """Of an ``image_size`` as checkpoints and flags have it: one number, or two."""
        height, width = (image_size,) * 2 if isinstance(image_size, int) else image_size
        return cls(height, width, shorter_side, enlarge)

    @classmethod
    def of_checkpoint(
        cls,
        checkpoint: Mapping[str, Any],
        image_size: int | Sequence[int] | None = None,
        *,
        whole: bool = True,
    ) -> View:
        """As a network was trained, or at another size.

        Args:
            checkpoint: of the network.
            image_size: height and width instead; one number is a square or, for a network that
                was trained on crops, the shorter side.
            whole: False for windows of an image, which are stretched.
        """
        shorter_side = checkpoint.get("shorter_side") if whole else None
        if shorter_side and isinstance(image_size, int):
            return cls.of(checkpoint["image_size"], image_size)
        return cls.of(image_size) if image_size else cls.of(checkpoint["image_size"], shorter_side)

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint says of it; see ``of_checkpoint``."""
        size = [self.height, self.width]
        if self.shorter_side:  # a list: versions that know no shorter side refuse it for a square
            return {"image_size": size, "shorter_side": self.shorter_side}
        return {"image_size": self.height if self.height == self.width else size}

    def __str__(self) -> str:
        if self.shorter_side:
            return f"{'shorter' if self.enlarge else 'up_to'}_{self.shorter_side}"
        return f"{self.height}" if self.height == self.width else f"{self.height}x{self.width}"

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which an image of this height and width is seen."""
        if not self.shorter_side:
            return self.height, self.width
        shorter, longer = sorted((height, width))
        scale = self.shorter_side * min(1 / shorter, MOST_TIMES / longer)
        if scale > 1 and not self.enlarge:
            return height, width
        return max(1, round(height * scale)), max(1, round(width * scale))

    def __call__(self, image: Tensor) -> Tensor:
        """(3, H, W) uint8 RGB -> (3, h, w) uint8, bilinear with antialiasing."""
        resized: Tensor = TF.resize(image, list(self.size_of(*image.shape[1:])), antialias=True)
        return resized


def enlarge(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate logits (C, h, w) bilinearly to (C, height, width).

    Scores are interpolated and the best taken afterwards: enlarging a finished label map would
    give stairs for edges.
    """
    return F.interpolate(logits[None], size=tuple(size), mode="bilinear", align_corners=False)[0]


def planes_of(logits: Tensor, size: Sequence[int]) -> Plane:
    """The logits (C, h, w) of an image, each label's enlarged to (height, width) when asked for."""
    return lambda label: enlarge(logits[label : label + 1], size)[0]


def label_map_from_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The most likely label of every pixel of the original image; of equal scores, the lowest.

    Scores (C, h, w) at the network's size -> (height, width) uint8, on their device.
    """
    return _best_labels(planes_of(logits, size), len(logits))[0]


def _best_labels(plane: Plane, num_labels: int) -> tuple[Tensor, Tensor]:
    """The label of the highest score at each pixel, (H, W) uint8, and that score."""
    best = plane(0)
    label_map = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for label in range(1, num_labels):
        scores = plane(label)
        label_map.masked_fill_(scores > best, label)
        best = torch.maximum(best, scores)
    return label_map, best


def decide(
    plane: Plane,
    num_labels: int,
    *,
    min_confidence: float = 0.0,
    probabilities: torch.dtype | None = None,
) -> Prediction:
    """The label map of an image, or of some of its rows, from its scores.

    Args:
        plane: the scores of each of ``num_labels`` labels.
        min_confidence: a pixel whose best label is less probable, 0..1, becomes label 0.
        probabilities: the type to give the probabilities of all labels in; None for none.
    """
    label_map, best = _best_labels(plane, num_labels)
    if not min_confidence and probabilities is None:
        return Prediction(label_map.cpu())
    # Softmax, less its largest exponent: the best label's probability is one over the sum.
    total = torch.zeros_like(best)
    for label in range(num_labels):
        total += (plane(label) - best).exp_()
    label_map.masked_fill_(1 / total < min_confidence, 0)
    if probabilities is None:
        return Prediction(label_map.cpu())
    shares = torch.empty((num_labels, *best.shape), dtype=probabilities)
    for label in range(num_labels):
        share = (plane(label) - best).exp_() / total
        shares[label] = (share * 255).round_() if probabilities == torch.uint8 else share
    return Prediction(label_map.cpu(), shares)
