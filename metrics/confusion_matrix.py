"""The count of pixels for each pair of true and predicted label."""

from __future__ import annotations

import torch
from torch import Tensor


def confusion_matrix(
    label_map: Tensor, prediction: Tensor, num_labels: int, ignore_index: int
) -> Tensor:
    """(C, C) int64 counts[true, predicted] of one pair of label maps; see ``ConfusionMatrix``."""
    confusion = ConfusionMatrix(num_labels, ignore_index, label_map.device)
    confusion.update(label_map, prediction)
    return confusion.counts


class ConfusionMatrix:
    """The sum of confusion matrices of many batches.

    Sums of counts are exact, however the data comes in batches. ``update`` waits for no result of
    the device; a label out of range is therefore told when ``counts`` is read.

    Args:
        num_labels: C.
        ignore_index: the value of label maps that is not counted.
        device: where the batches are, and the sums.
    """

    def __init__(
        self, num_labels: int, ignore_index: int, device: torch.device | str = "cpu"
    ) -> None:
        self.num_labels = num_labels
        self.ignore_index = ignore_index
        # Of each pair [true, predicted], and at the end of those with a label out of range.
        self._counts = torch.zeros(num_labels**2 + 1, dtype=torch.int64, device=device)

    def update(self, label_map: Tensor, prediction: Tensor) -> None:
        """Add the pixels of a batch.

        Args:
            label_map: the truth, integers of any shape, 0..C - 1 or ``ignore_index``.
            prediction: integers of the same shape and device, 0..C - 1; where the truth is
                ignored, its value does not matter.

        Raises:
            ValueError: the shapes differ.
        """
        if label_map.shape != prediction.shape:
            raise ValueError(
                f"label map of shape {tuple(label_map.shape)} and prediction of shape "
                f"{tuple(prediction.shape)}, expected the same"
            )
        true, predicted, size = label_map.long(), prediction.long(), self.num_labels
        in_range = (true >= 0) & (true < size) & (predicted >= 0) & (predicted < size)
        pairs = (true * size + predicted).where(in_range, size**2)
        # Not bincount, which waits for the largest value; int32, because it is exact (to 2^31
        # pixels a batch), and every device adds it.
        counted = (label_map != self.ignore_index).flatten().int()
        counts = torch.zeros_like(self._counts, dtype=torch.int32)
        self._counts += counts.scatter_add(0, pairs.flatten(), counted)

    @property
    def counts(self) -> Tensor:
        """(C, C) int64 counts[true, predicted], a copy on the CPU; waits for the device.

        Raises:
            ValueError: a label was out of range.
        """
        counts = self._counts.to("cpu", copy=True)
        if wrong := int(counts[-1]):
            raise ValueError(
                f"{wrong} pixels have a label, true or predicted, that is not one of 0 to "
                f"{self.num_labels - 1}, and in the truth not the ignore index {self.ignore_index}"
            )
        return counts[:-1].view(self.num_labels, self.num_labels)
