"""Which images an epoch shows, how often, in which batches; the loaders that bring them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from datasets.training.augmentation import AugmentedDataset, Augmenting, Draw
from datasets.training.choices import SAMPLERS
from datasets.training.dataset import PairTransform
from runtime.interrupts import leave_stopping_to_parent

SegmentationSet = Dataset[tuple[Tensor, Tensor]]
Loader = DataLoader[tuple[Tensor, Tensor]]

NUM_SHOWN = 6  # validation images in a picture


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


class EpochBatches(Sampler[list[Draw]]):
    """The batches of one process in one epoch; a batch sampler for a DataLoader.

    The order of an epoch depends on the seed and the epoch alone. It is cut into steps of
    ``batch_size * accumulate * world_size`` images; a step into ``accumulate`` rows, and a row
    into one batch for each process. So however that product is made up, a step sees the same
    images, no two processes draw the same position, and a resumed run need only know where it
    was. What is left after the last whole step is not shown: a few images make poor batch
    statistics. Fewer images than one step make one step, for one process, in batches of nearly the
    same size.

    Args:
        name: "weighted" draws with replacement, in proportion to ``weights``; "shuffle" yields
            each index once.
        weights: (N,) as ``sample_weights`` gives them.
        batch_size: images in a batch.
        accumulate: batches of one process in a step.
        seed: 0 or more.
        rank: of this process, from 0.
        world_size: number of processes.

    Attributes:
        steps: in an epoch.
        images_in_step: of all processes.
        batches_in_step: of this process.

    Raises:
        ValueError: ``name`` is not in SAMPLERS, or several processes have less than one step.
    """

    def __init__(
        self,
        name: str,
        weights: npt.NDArray[np.float64],
        batch_size: int,
        *,
        accumulate: int = 1,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if name not in SAMPLERS:
            raise ValueError(f"unknown sampler {name!r}; known are {', '.join(SAMPLERS)}")
        self.name = name
        self.weights = torch.from_numpy(weights)
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.row = batch_size * world_size
        self.images_in_step = min(self.row * accumulate, len(weights))
        if len(weights) < self.row * accumulate and world_size > 1:
            raise ValueError(
                f"{len(weights)} images are less than one step of {world_size} processes x "
                f"{accumulate} batches x {batch_size} images; lower --batch_size or --accumulate"
            )
        self.steps = len(weights) // self.images_in_step
        self.batches_in_step = -(-self.images_in_step // self.row)
        self.start(epoch=1)

    def start(self, epoch: int, step: int = 0) -> None:
        """Let the next iteration be over ``epoch``, without its first ``step`` steps."""
        self.epoch, self.step = epoch, step

    def __len__(self) -> int:
        return (self.steps - self.step) * self.batches_in_step

    def __iter__(self) -> Iterator[list[Draw]]:
        order = self.order(self.epoch)
        if self.images_in_step % self.row:  # fewer than one step
            count = 0 if self.step else self.batches_in_step
            cuts = [number * self.images_in_step // max(1, count) for number in range(count + 1)]
            yield from (order[first:last] for first, last in pairwise(cuts))
            return
        for number in range(self.step * self.batches_in_step, self.steps * self.batches_in_step):
            first = number * self.row + self.rank * self.batch_size
            yield order[first : first + self.batch_size]

    def images_of_step(self, epoch: int, step: int) -> list[int]:
        """What this process saw in a step, counted from 1: the indices of its pairs."""
        self.start(epoch, step - 1)
        draws = [draw for batch in islice(self, self.batches_in_step) for draw in batch]
        return [draw.index for draw in draws]

    def order(self, epoch: int) -> list[Draw]:
        """Every draw of an epoch, those of all processes."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, epoch))
        indices = SAMPLERS[self.name](self.weights, generator).tolist()
        drawn: dict[int, int] = {}
        draws = []
        for index in indices:
            repeat = drawn.get(index, 0)
            drawn[index] = repeat + 1
            draws.append(Draw(index, epoch, repeat))
        return draws


def seed_of(*key: int) -> int:
    """A seed that depends on every number of ``key``, each 0 or more."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class Loaders:
    """Batches of images (N, 3, H, W) and label maps (N, h, w), uint8, for this process.

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
    val: ScoredBatches
    train_sample: ScoredBatches
    shown: list[tuple[Tensor, Tensor]]


def make_loaders(
    train_set: SegmentationSet,
    val_set: SegmentationSet,
    augment: Augmenting,
    batches: EpochBatches,
    workers: int,
    *,
    whole: PairTransform | None = None,
    pin_memory: bool,
) -> Loaders:
    """Loaders that read in ``workers`` processes each; 0 reads in this one.

    The validation images of all processes together are the whole set, none twice.

    Args:
        train_set, val_set: pairs, (3, H, W) and (h, w) uint8.
        augment: makes of each drawn training pair one of the network's size.
        batches: which pairs each step shows.
        workers: processes.
        whole: makes of a training pair one to be scored; None: it is one.
        pin_memory: for copies to a GPU that wait for nothing.
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
    return Loaders(
        train=make(AugmentedDataset(train_set, augment, batches.seed), batch_sampler=batches),
        batches=batches,
        val=ScoredBatches(make, _part(val_set, size, batches), batches.batch_size),
        train_sample=ScoredBatches(
            make, _part(train_set, size, batches), batches.batch_size, whole
        ),
        shown=[val_set[i] for i in dict.fromkeys(i * size // NUM_SHOWN for i in range(NUM_SHOWN))],
    )


class ScoredBatches:
    """Each item of a dataset once, in batches of one size.

    Args:
        make: of ``DataLoader``, without its dataset and batches.
        dataset: images (3, H, W) and label maps (h, w), uint8.
        batch_size: items that are read at a time; those of one size are one batch.
        transform: of each item before; None: none.
    """

    def __init__(
        self,
        make: Callable[..., DataLoader[Any]],
        dataset: SegmentationSet,
        batch_size: int,
        transform: PairTransform | None = None,
    ) -> None:
        collate = partial(_by_size, transform)
        self.loader = make(dataset, batch_size=batch_size, collate_fn=collate)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batches in self.loader:
            yield from batches


def _by_size(
    transform: PairTransform | None, items: list[tuple[Tensor, Tensor]]
) -> list[tuple[Tensor, Tensor]]:
    groups: dict[tuple[torch.Size, torch.Size], list[tuple[Tensor, Tensor]]] = {}
    for image, label_map in (transform(*item) for item in items) if transform else items:
        groups.setdefault((image.shape, label_map.shape), []).append((image, label_map))
    return [
        (torch.stack(images), torch.stack(label_maps))
        for images, label_maps in (zip(*group, strict=True) for group in groups.values())
    ]


def start_worker(number: int) -> None:
    """What a reading process does first; ``number`` is its own, from 0."""
    leave_stopping_to_parent()


def _part(dataset: SegmentationSet, limit: int, batches: EpochBatches) -> SegmentationSet:
    """This process's part of at most ``limit`` items at even distances."""
    size: int = len(dataset)  # type: ignore[arg-type]
    count = min(limit, size)
    chosen = [i * size // count for i in range(count)]
    return Subset(dataset, chosen[batches.rank :: batches.world_size])
