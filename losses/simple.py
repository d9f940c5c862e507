"""Cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def cross_entropy(
    logits: Tensor,
    label_map: Tensor,
    ignore_index: int,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy, averaged over the pixels that count, in float32.

    ``torch.nn.functional.cross_entropy``, but 0 instead of NaN where every pixel is ignored: one
    such batch would otherwise end the training.

    Args:
        logits: (N, C, H, W) scores.
        label_map: (N, H, W) int64 label indices.
        ignore_index: the value of pixels that do not count.
        weight: (C,) weight of each label's pixels in the average; None: 1 each.
        label_smoothing: share of each pixel's truth, 0..1, that is spread evenly over all labels,
            so that the network is not pushed to be ever surer (Szegedy et al. 2016).

    Returns:
        Scalar, float32, 0 or more.
    """
    total = F.cross_entropy(
        logits.float(),
        label_map,
        weight=weight,
        ignore_index=ignore_index,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    counted = label_map != ignore_index
    if weight is None:
        return total / counted.sum().clamp(min=1)
    norm = (weight[label_map.where(counted, 0)] * counted).sum()
    return total / norm.clamp(min=torch.finfo(norm.dtype).tiny)


class SimpleLoss(nn.Module):
    """Cross-entropy.

    Args:
        ignore_index: the value in label maps that does not count.
        label_smoothing: see ``cross_entropy``.
        weights: (C,) weight of each label's pixels in the average; None: 1 each.
    """

    weights: Tensor | None

    def __init__(
        self, ignore_index: int, label_smoothing: float = 0.0, weights: Tensor | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, label_map: Tensor) -> Tensor:
        return cross_entropy(
            logits, label_map, self.ignore_index, self.weights, self.label_smoothing
        )


def build(label_pixels: Tensor, ignore_index: int, *, label_smoothing: float) -> nn.Module:
    """See ``losses.LOSSES``."""
    return SimpleLoss(ignore_index, label_smoothing)
