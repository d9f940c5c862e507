"""Cross-entropy in which the pixels of rare labels weigh more."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from losses.simple import SimpleLoss


def label_weights(label_pixels: Tensor, power: float, cap: float) -> Tensor:
    """Weight of each label from how many pixels it has.

    ``min(cap, (median / pixels) ** power)``, the median over the labels that have any: median
    frequency balancing (Eigen, Fergus 2015) with two brakes. The square root, because full
    balancing makes the network paint rare labels everywhere; the cap, so that a label with a
    handful of pixels does not take over. A label without pixels weighs 1: no pixel asks for it.
    (C,) pixels -> (C,) float32.
    """
    pixels = label_pixels.double()
    present = pixels > 0
    weights = torch.ones_like(pixels)
    if present.any():
        # quantile averages the two middle values of an even number; Tensor.median does not.
        median = pixels[present].quantile(0.5)
        weights[present] = ((median / pixels[present]) ** power).clamp(max=cap)
    return weights.float()


def build(
    label_pixels: Tensor, ignore_index: int, weight_power: float, weight_cap: float, **rest: float
) -> nn.Module:
    """See ``losses.LOSSES``."""
    weights = label_weights(label_pixels, weight_power, weight_cap)
    return SimpleLoss(ignore_index, weights=weights, **rest)
