"""A model over a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metrics.confusion_matrix import ConfusionMatrix


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a data set found.

    Attributes:
        loss: mean over the images, those of one batch sharing the loss of their batch.
        counts: (C, C) int64 counts[true, predicted] over every pixel of the set that counts.
    """

    loss: float
    counts: Tensor


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    device: torch.device,
    num_labels: int,
    ignore_index: int,
) -> Evaluation:
    """Predict every batch and compare; the model is left in the mode it came in.

    Args:
        model: images -> logits (N, num_labels, H, W), on ``device``.
        batches: of images (N, 3, H, W) and label maps (N, H, W), integer.
        loss: (logits, int64 label map) -> scalar.
        device: where to compute.
        num_labels: C.
        ignore_index: the value of label maps that is not counted.

    Raises:
        ValueError: there is no batch, or a label is out of range.
    """
    was_training = model.training
    model.eval()
    confusion = ConfusionMatrix(num_labels, ignore_index)
    loss_sum, num_images = 0.0, 0
    for images, label_map in batches:
        label_map = label_map.to(device).long()
        logits = model(images.to(device))
        loss_sum += float(loss(logits, label_map)) * len(images)
        num_images += len(images)
        confusion.update(label_map, logits.argmax(dim=1))
    model.train(was_training)
    if num_images == 0:
        raise ValueError("no images to evaluate on, expected at least one")
    return Evaluation(loss_sum / num_images, confusion.counts)
