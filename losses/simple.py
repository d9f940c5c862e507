"""Cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SimpleLoss(nn.Module):
    """Cross-entropy, averaged over the pixels that count, in float32.

    ``torch.nn.functional.cross_entropy``, but 0 instead of NaN where every pixel is ignored: one
    such batch would otherwise end the training.

    Args:
        ignore_index: the value in label maps that does not count.
        label_smoothing: share of each pixel's truth, 0..1, that is spread evenly over all labels,
            so that the network is not pushed to be ever surer (Szegedy et al. 2016).
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
        total = F.cross_entropy(
            logits.float(),
            label_map,
            weight=self.weights,
            ignore_index=self.ignore_index,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        counted = label_map != self.ignore_index
        if self.weights is None:
            return total / counted.sum().clamp(min=1)
        norm = (self.weights[label_map.where(counted, 0)] * counted).sum()
        return total / norm.clamp(min=torch.finfo(norm.dtype).tiny)


def build(label_pixels: Tensor, ignore_index: int, label_smoothing: float) -> nn.Module:
    """See ``losses.LOSSES``."""
    return SimpleLoss(ignore_index, label_smoothing)
