"""Augmented samples that depend on the seed and on what was drawn, not on who computes them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datasets.transforms import Augment


class Draw(NamedTuple):
    """One sample of one epoch: what a sampler yields and an AugmentedDataset takes.

    Attributes:
        index: of the pair, 0 or more.
        epoch: 0 or more.
        repeat: how often this epoch drew this index before; a pair that is drawn twice is not
            augmented twice alike.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    epoch: int
    repeat: int


class AugmentedDataset(Dataset[tuple[Tensor, Tensor]]):
    """The items of another dataset, augmented by draw.

    An item is what ``augment`` makes of (image, label_map). Its chance comes from the seed and
    the draw alone, so the same draw gives the same item in any process and in any order.

    Args:
        dataset: gives (image, label_map) by index, (3, S, S) and (S, S), both uint8.
        augment: see AUGMENTS.
        seed: 0 or more.
    """

    def __init__(
        self, dataset: Dataset[tuple[Tensor, Tensor]], augment: Augment, seed: int
    ) -> None:
        self.dataset = dataset
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        image, label_map = self.dataset[draw.index]
        return self.augment(image, label_map, generator_of(self.seed, draw))


def generator_of(seed: int, draw: Draw) -> torch.Generator:
    """A generator of its own for each draw of each seed."""
    key = np.random.SeedSequence((seed, draw.epoch, draw.index, draw.repeat))
    return torch.Generator().manual_seed(int(key.generate_state(1, np.uint64)[0]))
