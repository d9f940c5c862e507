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
        (C, C) int64 counts[true, predicted], on the CPU.

    Raises:
        ValueError: the shapes differ, or a label is out of range.
    """
    confusion = ConfusionMatrix(num_labels, ignore_index, label_map.device)
    confusion.update(label_map, prediction)
    return confusion.counts


class ConfusionMatrix:
    """The sum of confusion matrices of many batches.

    Sums of counts are exact, so any split of the data into batches, in any order, gives the same
    matrix. ``update`` waits for no result of the device, so that the next batch can be sent while
    this one is computed; a label out of range is therefore told when ``counts`` is read.

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
        self._counts = torch.zeros(num_labels**2, dtype=torch.int64, device=device)
        # The most that -truth, truth, -prediction and prediction have been: what is out of range.
        self._extremes = torch.zeros(4, dtype=torch.int64, device=device)

    def update(self, label_map: Tensor, prediction: Tensor) -> None:
        """Add the pixels of a batch; arguments as ``confusion_matrix`` takes them.

        Raises:
            ValueError: the shapes differ.
        """
        if label_map.shape != prediction.shape:
            raise ValueError(
                f"label map of shape {tuple(label_map.shape)} and prediction of shape "
                f"{tuple(prediction.shape)}, expected the same"
            )
        if not label_map.numel():
            return
        counted = label_map != self.ignore_index
        true, predicted = label_map.long().where(counted, 0), prediction.long().where(counted, 0)
        extremes = (-true.min(), true.max(), -predicted.min(), predicted.max())
        self._extremes = torch.maximum(self._extremes, torch.stack(extremes))

        # Clamped, because an index out of range would abort the process on a GPU; scatter_add,
        # because bincount waits for the largest value; int32, because it is exact (to 2^31 pixels
        # a batch), and every device adds it.
        last = self.num_labels - 1
        pairs = true.clamp(0, last) * self.num_labels + predicted.clamp(0, last)
        counts = torch.zeros_like(self._counts, dtype=torch.int32)
        self._counts += counts.scatter_add(0, pairs.flatten(), counted.flatten().int())

    @property
    def counts(self) -> Tensor:
        """(C, C) int64 counts[true, predicted], a copy on the CPU; waits for the device.

        Raises:
            ValueError: a label was out of range.
        """
        low_true, high_true, low_predicted, high_predicted = self._extremes.tolist()
        for name, low, high in (
            ("label map", -low_true, high_true),
            ("prediction", -low_predicted, high_predicted),
        ):
            if not 0 <= low <= high < self.num_labels:
                raise ValueError(
                    f"{name} has labels {low} to {high}, expected 0 to {self.num_labels - 1} or "
                    f"the ignore index {self.ignore_index}"
                )
        return self._counts.view(self.num_labels, self.num_labels).to("cpu", copy=True)
