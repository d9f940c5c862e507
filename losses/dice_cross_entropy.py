"""Cross-entropy, which looks at pixels, plus Dice loss, which looks at the overlap of regions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from losses.simple import SimpleLoss
from losses.weighted_cross_entropy import label_weights


def dice_loss(logits: Tensor, label_map: Tensor, ignore_index: int) -> Tensor:
    """1 - soft Dice coefficient, averaged over the labels that the batch contains, in float32.

    The Dice coefficient of a label is 2 |P * T| / (|P| + |T|), with P its predicted probability
    and T its truth (0 or 1), each summed over all pixels of the batch (after Milletari, Navab,
    Ahmadi 2016, who square P and T in the denominator). A label with no pixel in the batch has no
    overlap to improve: it is left out, not counted as a loss of 1 or a success of 0.
    """
    labels = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    counted = (label_map != ignore_index).unsqueeze(1)  # (N, 1, H, W)
    truth = (label_map.unsqueeze(1) == labels) & counted  # (N, C, H, W)
    probability = logits.float().softmax(dim=1) * counted

    per_label = (0, 2, 3)
    overlap = (probability * truth).sum(per_label)  # (C,)
    truth_size = truth.sum(per_label)
    # A label that is present has a size of 1 or more, so the clamp only spares absent ones 0 / 0.
    dice = 2 * overlap / (probability.sum(per_label) + truth_size).clamp(min=1)
    present = truth_size > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


class DiceCrossEntropyLoss(SimpleLoss):
    """Cross-entropy + ``dice_weight`` * Dice loss.

    ``cross_entropy`` is of ``SimpleLoss``; the Dice loss keeps the plain truth, and weighs every
    label the same already.
    """

    def __init__(self, ignore_index: int, dice_weight: float, **cross_entropy: Any) -> None:
        super().__init__(ignore_index, **cross_entropy)
        self.dice_weight = dice_weight

    def forward(self, logits: Tensor, label_map: Tensor) -> Tensor:
        by_overlap = dice_loss(logits, label_map, self.ignore_index)
        return super().forward(logits, label_map) + self.dice_weight * by_overlap


def build(
    label_pixels: Tensor, ignore_index: int, weight_power: float, weight_cap: float, **rest: float
) -> nn.Module:
    """See ``losses.LOSSES``."""
    # With equal weights, the average needs none: it is then that of torch to the last bit.
    weights = label_weights(label_pixels, weight_power, weight_cap) if weight_power else None
    return DiceCrossEntropyLoss(ignore_index, weights=weights, **rest)
