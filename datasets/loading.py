"""From data sets to batches: what a training run trains on, is scored by and shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from datasets.augmentation import AugmentedDataset
from datasets.sampling import EpochBatches
from datasets.transforms import Augment
from runtime.interrupts import leave_stopping_to_parent

SegmentationSet = Dataset[tuple[Tensor, Tensor]]
Loader = DataLoader[tuple[Tensor, Tensor]]

NUM_SHOWN = 6  # validation images in a picture


@dataclass(frozen=True)
class Loaders:
    """Batches of images (N, 3, S, S) and label maps (N, S, S), uint8, for this process.

    Attributes:
        train: augmented, drawn by ``batches``.
        batches: which images each training step shows.
        val: every validation image of this process.
        train_sample: training images as they are, to be scored as the validation images are: as
            many, at even distances.
        shown: validation images for pictures, the same few every time.
    """

    train: Loader
    batches: EpochBatches
    val: Loader
    train_sample: Loader
    shown: list[tuple[Tensor, Tensor]]


def make_loaders(
    train_set: SegmentationSet,
    val_set: SegmentationSet,
    augment: Augment,
    batches: EpochBatches,
    workers: int,
    *,
    pin_memory: bool,
    rank: int = 0,
    world_size: int = 1,
) -> Loaders:
    """Loaders that read in ``workers`` processes each; 0 reads in this one.

    The validation images of all processes together are the whole set, none twice.
    """
    size: int = len(val_set)  # type: ignore[arg-type]
    make = partial(
        DataLoader,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=start_worker if workers else None,
        generator=torch.Generator(),  # of worker seeds: they would draw on dropout's chance
    )
    score = partial(make, batch_size=batches.batch_size)
    return Loaders(
        train=make(AugmentedDataset(train_set, augment, batches.seed), batch_sampler=batches),
        batches=batches,
        val=score(_part(val_set, size, rank, world_size)),
        train_sample=score(_part(train_set, size, rank, world_size)),
        shown=[val_set[i] for i in dict.fromkeys(i * size // NUM_SHOWN for i in range(NUM_SHOWN))],
    )


def start_worker(number: int) -> None:
    """What a reading process does first; ``number`` is its own, from 0."""
    leave_stopping_to_parent()


def _part(dataset: SegmentationSet, limit: int, rank: int, world_size: int) -> SegmentationSet:
    """This process's part of at most ``limit`` items at even distances."""
    size: int = len(dataset)  # type: ignore[arg-type]
    count = min(limit, size)
    chosen = [i * size // count for i in range(count)]
    return Subset(dataset, chosen[rank::world_size])
