"""The count of pixels for each pair of true and predicted label."""

from __future__ import annotations

import torch
from torch import Tensor


def confusion_matrix(
    label_map: Tensor, prediction: Tensor, num_labels: int, ignore_index: int
) -> Tensor:
    """Count the pixels of each true label that were predicted as each label.

    Args:
        label_map: the truth, integers of any shape, 0..num_labels - 1 or ``ignore_index``.
        prediction: integers of the same shape and device, 0..num_labels - 1; where the truth is
            ignored, its value does not matter.
        num_labels: C.
        ignore_index: the value of ``label_map`` that is not counted.

    Returns:
        (C, C) int64 counts[true, predicted].

    Raises:
        ValueError: the shapes differ, or a label is out of range.
    """
    if label_map.shape != prediction.shape:
        raise ValueError(
            f"label map of shape {tuple(label_map.shape)} and prediction of shape "
            f"{tuple(prediction.shape)}, expected the same"
        )
    counted = label_map != ignore_index
    true, predicted = label_map[counted].long(), prediction[counted].long()
    for name, labels in (("label map", true), ("prediction", predicted)):
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_labels:
            raise ValueError(
                f"{name} has labels {int(labels.min())} to {int(labels.max())}, expected 0 to "
                f"{num_labels - 1} or the ignore index {ignore_index}"
            )
    pairs = true * num_labels + predicted
    return torch.bincount(pairs, minlength=num_labels**2).view(num_labels, num_labels)


class ConfusionMatrix:
    """The sum of confusion matrices of many batches.

    Sums of counts are exact, so any split of the data into batches, in any order, gives the same
    matrix.

    Args:
        num_labels: C.
        ignore_index: the value of label maps that is not counted.

    Attributes:
        counts: (C, C) int64 counts[true, predicted], on the CPU.
    """

    def __init__(self, num_labels: int, ignore_index: int) -> None:
        self.num_labels = num_labels
        self.ignore_index = ignore_index
        self.counts = torch.zeros(num_labels, num_labels, dtype=torch.int64)

    def update(self, label_map: Tensor, prediction: Tensor) -> None:
        """Add the pixels of a batch; see ``confusion_matrix``."""
        counts = confusion_matrix(label_map, prediction, self.num_labels, self.ignore_index)
        self.counts += counts.cpu()

    def merge(self, other: ConfusionMatrix) -> None:
        """Add what another matrix over the same labels has counted."""
        self.counts += other.counts
