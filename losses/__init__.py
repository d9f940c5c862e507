"""What training makes small: one file a loss.

Every loss is called with logits (N, C, H, W), floating point, and a label map (N, H, W), int64
label indices, and gives a scalar, float32. Pixels of the ignore index count in no part of it. If
every pixel is ignored, the loss is 0 and so is its gradient.

simple                  cross-entropy
dice_cross_entropy      cross-entropy + Dice loss
weighted_cross_entropy  cross-entropy in which rare labels weigh more
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from losses.dice_cross_entropy import DiceCrossEntropyLoss
from losses.simple import SimpleLoss
from losses.weighted_cross_entropy import WeightedCrossEntropyLoss, label_weights

# name -> (label_pixels, ignore_index) -> loss
LOSSES: dict[str, Callable[[Tensor, int], nn.Module]] = {
    "simple": lambda label_pixels, ignore_index: SimpleLoss(ignore_index),
    "dice_ce": lambda label_pixels, ignore_index: DiceCrossEntropyLoss(ignore_index),
    "weighted_ce": lambda label_pixels, ignore_index: WeightedCrossEntropyLoss(
        label_weights(label_pixels), ignore_index
    ),
}


def build_loss(name: str, label_pixels: Tensor, ignore_index: int) -> nn.Module:
    """The loss called ``name``.

    Args:
        name: a key of ``LOSSES``.
        label_pixels: (C,) pixels of each label in the training masks.
        ignore_index: the value in label maps that no loss counts.

    Raises:
        ValueError: no loss has that name.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}, expected one of: {', '.join(LOSSES)}")
    return LOSSES[name](label_pixels, ignore_index)
