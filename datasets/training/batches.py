"""Which images an epoch shows, how often, in which batches; the loaders that bring them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from datasets.training.augmentation import AugmentedDataset, Augmenting, Draw, seed_of
from datasets.training.dataset import View
from runtime.devices import ALONE, World
from runtime.interrupts import leave_stopping_to_parent

Pair = tuple[Tensor, Tensor]  # an image and its label map, or a batch of such

NUM_SHOWN = 6  # validation images in a picture


def sample_weights(label_counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """How often to draw each image, from inverse label frequency.

    The frequency of a label is the share of images that contain it, and the weight of an image
    is the mean of 1 / frequency over the labels that it contains. One without any counted pixel
    gets the smallest weight of the others.

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
    ``batch_size * accumulate * world.size`` images, and a step into rows of one batch for each
    process: however that product is made up, a step sees the same images. What is left after the
    last whole step is not shown, as few images make poor batch statistics. Fewer images than one
    step make one, for one process, in batches of nearly the same size. What is drawn twice is not
    augmented twice alike.

    Args:
        name: "weighted" draws with replacement, in proportion to ``weights``; "shuffle" yields each
            index once.
        weights: (N,) as ``sample_weights`` gives them.
        batch_size: images in a batch.
        accumulate: batches of one process in a step.
        seed: 0 or more.
        world: which process this is, of how many.

    Attributes:
        steps: in an epoch.
        images_in_step: of all processes.
        batches_in_step: of this process.

    Raises:
        ValueError: several processes have less than one step.
    """

    def __init__(
        self,
        name: str,
        weights: npt.NDArray[np.float64],
        batch_size: int,
        *,
        accumulate: int = 1,
        seed: int = 0,
        world: World = ALONE,
    ) -> None:
        self.name = name
        self.weights = torch.from_numpy(weights)
        self.batch_size = batch_size
        self.seed = seed
        self.world = world
        row = batch_size * world.size
        self.images_in_step = min(row * accumulate, len(weights))
        if self.images_in_step < row * accumulate and world.size > 1:
            raise ValueError(
                f"{len(weights)} images are less than one step of {world.size} processes x "
                f"{accumulate} batches x {batch_size} images; lower --batch_size or --accumulate"
            )
        self.steps = len(weights) // self.images_in_step
        self.batches_in_step = -(-self.images_in_step // row)
        self.start(epoch=1)

    def start(self, epoch: int, step: int = 0) -> None:
        """Let the next iteration be over ``epoch``, without its first ``step`` steps."""
        self.epoch, self.step = epoch, step

    def __len__(self) -> int:
        return (self.steps - self.step) * self.batches_in_step

    def __iter__(self) -> Iterator[list[Draw]]:
        order, per_step = self._order(), self.batches_in_step * self.world.size
        cuts = (n * self.images_in_step // per_step for n in range(self.steps * per_step + 1))
        mine = islice(pairwise(cuts), self.step * per_step + self.world.rank, None, self.world.size)
        for first, last in mine:
            yield [(i, seed_of(self.seed, self.epoch, i, n)) for i, n in order[first:last].tolist()]

    def images_of_step(self, epoch: int, step: int) -> list[int]:
        """What this process saw in a step, counted from 1: the indices of its pairs."""
        self.start(epoch, step - 1)
        return [index for batch in islice(self, self.batches_in_step) for index, _ in batch]

    def _order(self) -> npt.NDArray[np.int64]:
        """(N, 2), every draw of all processes: an index, and how often the epoch drew it before."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        if self.name == "shuffle":
            indices = torch.randperm(len(self.weights), generator=generator)
        else:
            indices = self.weights.multinomial(len(self.weights), True, generator=generator)
        drawn = indices.numpy()
        together = drawn.argsort(kind="stable")  # the draws of an index side by side, in order
        times = np.empty_like(drawn)
        times[together] = np.arange(len(drawn)) - np.searchsorted(drawn[together], drawn[together])
        return np.stack([drawn, times], axis=1)


def make_loader(dataset: Dataset[Any], workers: int, **options: Any) -> DataLoader[Any]:
    """A loader that reads in ``workers`` processes; 0 reads in this one."""
    return DataLoader(
        dataset,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=leave_stopping_to_parent,
        generator=torch.Generator(),  # of worker seeds: they would draw on dropout's chance
        **options,
    )


def loader_by_size(
    dataset: Dataset[Pair],
    part: range | list[int],
    view: View | None = None,
    **options: Any,
) -> DataLoader[list[Pair]]:
    """Each item of a part of a dataset once, in lists of batches, which are of items of one size.

    ``view`` resizes images first; ``options`` are of ``make_loader``.
    """
    return make_loader(Subset(dataset, part), collate_fn=partial(_by_size, view), **options)


def _by_size(view: View | None, items: list[Pair]) -> list[Pair]:
    groups: dict[tuple[torch.Size, torch.Size], list[Pair]] = {}
    for stored, label_map in items:
        image = view(stored) if view else stored
        groups.setdefault((image.shape, label_map.shape), []).append((image, label_map))
    return [
        (torch.stack(images), torch.stack(label_maps))
        for images, label_maps in (zip(*group, strict=True) for group in groups.values())
    ]


class Loaders:
    """Batches of images (N, 3, H, W) and label maps (N, h, w), uint8, for this process.

    Args:
        train_set, val_set: pairs, (3, H, W) and (h, w) uint8.
        augment: makes of each drawn training pair one of the network's size.
        batches: which pairs each step shows.
        view: makes of a training image one to be scored; None: it is one.
        **options: of ``make_loader``.

    Attributes:
        train: augmented, drawn by ``batches``.
        val: this process's part of the validation images, see ``loader_by_size``.
        train_sample: as many training images as they are, at even distances, to be scored as well.
        shown: validation images for pictures, the same few every time.
    """

    def __init__(
        self,
        train_set: Dataset[Pair],
        val_set: Dataset[Pair],
        augment: Augmenting,
        batches: EpochBatches,
        *,
        view: View | None = None,
        **options: Any,
    ) -> None:
        augmented = AugmentedDataset(train_set, augment)
        self.batches = batches
        self.train: DataLoader[Pair] = make_loader(augmented, batch_sampler=batches, **options)
        of_train, of_val = len(batches.weights), len(val_set)  # type: ignore[arg-type]
        number, own = min(of_train, of_val), slice(batches.world.rank, None, batches.world.size)
        sample = [i * of_train // number for i in range(number)][own]
        options["batch_size"] = batches.batch_size
        self.val = loader_by_size(val_set, range(of_val)[own], **options)
        self.train_sample = loader_by_size(train_set, sample, view, **options)
        shown = sorted({i * of_val // NUM_SHOWN for i in range(NUM_SHOWN)})
        self.shown = [val_set[i] for i in shown]
