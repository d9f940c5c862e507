"""A model over a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metrics.confusion_matrix import ConfusionMatrix, sum_over_ranks


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a data set, or over a part of one, found.

    Attributes:
        loss_sum: sum over the images, those of one batch sharing the loss of their batch.
        num_images: how many.
        counts: (C, C) int64 counts[true, predicted] over every pixel that counts, on the CPU.
    """

    loss_sum: float
    num_images: int
    counts: Tensor

    @property
    def loss(self) -> float:
        """Mean over the images.

        Raises:
            ValueError: there are none.
        """
        if self.num_images == 0:
            raise ValueError("no images to evaluate on, expected at least one")
        return self.loss_sum / self.num_images

    def merge(self, other: Evaluation) -> Evaluation:
        """Both parts as one."""
        return Evaluation(
            self.loss_sum + other.loss_sum,
            self.num_images + other.num_images,
            self.counts + other.counts,
        )

    def reduce(self, device: torch.device) -> Evaluation:
        """The parts of all processes of a job as one, the same in each; each must call this.

        The counts, and so all scores, are exactly those of one process that saw every image.

        Args:
            device: see ``sum_over_ranks``.
        """
        sums = torch.tensor((self.loss_sum, self.num_images), dtype=torch.float64)
        loss_sum, num_images = sum_over_ranks(sums, device).tolist()
        return Evaluation(loss_sum, int(num_images), sum_over_ranks(self.counts, device))


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    device: torch.device,
    num_labels: int,
    ignore_index: int,
    amp: torch.dtype | None = None,
) -> Evaluation:
    """Predict every batch and compare; the model is left in the mode it came in.

    Nothing here waits for the device before the last batch, so it never idles for the host.

    Args:
        model: images -> logits (N, num_labels, H, W), on ``device``. Not within
            DistributedDataParallel, whose every call must be matched by all processes: shards
            need not be of one size.
        batches: of images (N, 3, H, W) and label maps (N, H, W), integer; there may be none.
        loss: (logits, int64 label map) -> scalar.
        device: where to compute.
        num_labels: C.
        ignore_index: the value of label maps that is not counted.
        amp: the dtype that the model may compute in, by autocast; None: its own.

    Raises:
        ValueError: a label is out of range.
    """
    was_training = model.training
    model.eval()
    confusion = ConfusionMatrix(num_labels, ignore_index, device)
    losses: list[Tensor] = []  # of the batches, on the device
    sizes: list[int] = []
    with torch.inference_mode():
        for images, label_map in batches:
            label_map = label_map.to(device, non_blocking=True).long()
            with _autocast(device, amp):
                logits = model(images.to(device, non_blocking=True))
            losses.append(loss(logits, label_map))
            sizes.append(len(images))
            confusion.update(label_map, logits.argmax(dim=1))
    model.train(was_training)
    values = torch.stack(losses).tolist() if losses else []
    loss_sum = sum((value * size for value, size in zip(values, sizes, strict=True)), 0.0)
    return Evaluation(loss_sum, sum(sizes), confusion.counts)


def _autocast(device: torch.device, amp: torch.dtype | None) -> AbstractContextManager[object]:
    return nullcontext() if amp is None else torch.autocast(device.type, amp)
