"""Predictions of many images against their truth: one matrix of all, and a row for each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from metrics.confusion_matrix import confusion_matrix
from metrics.report import image_row
from runtime.workers import available_cores

logger = logging.getLogger(__name__)

# Reads truth and prediction, (H, W) uint8 label indices each.
Read = Callable[[], tuple[npt.NDArray[Any], npt.NDArray[Any]]]


@dataclass
class ImageScores:
    """What was counted.

    Attributes:
        counts: (C, C) int64 of all images, counts[true, predicted].
        rows: for each image that could be scored "file", and what ``image_row`` gives.
        not_scored: for each other one "file" and "reason".
        pixels: of all images that could be scored, ignored ones too.
    """

    counts: Tensor
    rows: list[dict[str, Any]] = field(default_factory=list)
    not_scored: list[dict[str, str]] = field(default_factory=list)
    pixels: int = 0


def score_images(
    images: Mapping[str, Read], names: Sequence[str], ignore_index: int
) -> ImageScores:
    """Count the pixels of many images; those that cannot be read are named and left out.

    Args:
        images: name of an image -> what reads it; may raise ValueError or OSError.
        names: of the C labels.
        ignore_index: the value in the truth that does not count.
    """

    def counts_of(read: Read) -> tuple[Tensor, int] | str:
        try:
            truth, prediction = (torch.from_numpy(each) for each in read())
        except (ValueError, OSError) as error:
            return str(error)
        return confusion_matrix(truth, prediction, len(names), ignore_index), truth.numel()

    found = ImageScores(torch.zeros(len(names), len(names), dtype=torch.int64))
    with ThreadPoolExecutor(available_cores()) as pool:
        for name, counted in zip(images, pool.map(counts_of, images.values()), strict=True):
            if isinstance(counted, str):
                found.not_scored.append({"file": name, "reason": counted})
                logger.warning("not scored: %s", counted)
                continue
            found.counts += counted[0]
            found.pixels += counted[1]
            found.rows.append({"file": name, **image_row(counted[0], names)})
    return found
