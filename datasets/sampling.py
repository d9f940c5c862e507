"""Which images an epoch shows, and how often: evenly, or so that rare labels are seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import RandomSampler, Sampler, WeightedRandomSampler


def sample_weights(label_counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """How often to draw each image, from inverse label frequency.

    The frequency of a label is the share of images that contain it, and the weight of an image
    is the mean of 1 / frequency over the labels that it contains. So an image of a rare label
    weighs more, and one with many labels no more for their number. An image without any counted
    pixel gets the smallest weight of the others.

    Args:
        label_counts: (N, C) pixels of each label in each image.

    Returns:
        (N,) float64, positive, of no particular sum.
    """
    contains = label_counts > 0  # N, C
    inverse_frequency = len(contains) / np.maximum(contains.sum(axis=0), 1)
    labels = contains.sum(axis=1)
    weights = (contains * inverse_frequency).sum(axis=1) / np.maximum(labels, 1)
    if (labels == 0).all():
        return np.ones(len(contains))
    weights[labels == 0] = weights[labels > 0].min()
    return np.asarray(weights, np.float64)


def _weighted(weights: npt.NDArray[np.float64], generator: torch.Generator) -> Sampler[int]:
    return WeightedRandomSampler(
        weights.tolist(), num_samples=len(weights), replacement=True, generator=generator
    )


def _shuffle(weights: npt.NDArray[np.float64], generator: torch.Generator) -> Sampler[int]:
    return RandomSampler(range(len(weights)), generator=generator)


SAMPLERS: dict[str, Callable[[npt.NDArray[np.float64], torch.Generator], Sampler[int]]] = {
    "weighted": _weighted,
    "shuffle": _shuffle,
}


def build_sampler(
    name: str, weights: npt.NDArray[np.float64], generator: torch.Generator
) -> Sampler[int]:
    """A sampler that yields ``len(weights)`` indices an epoch.

    Args:
        name: "weighted" draws with replacement, in proportion to ``weights``; "shuffle" yields
            each index once.
        weights: (N,) as ``sample_weights`` gives them.
        generator: the only source of chance; seed it to repeat an epoch.

    Raises:
        ValueError: ``name`` is not in SAMPLERS.
    """
    if name not in SAMPLERS:
        raise ValueError(f"unknown sampler {name!r}; known are {', '.join(SAMPLERS)}")
    return SAMPLERS[name](weights, generator)
