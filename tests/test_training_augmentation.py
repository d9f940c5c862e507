"""Augmented samples by draw: the same wherever and whenever they are made."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datasets.training.augmentation import (
    AugmentedDataset,
    Draw,
    build_augment,
    generator_of,
)


class Noise(Dataset[tuple[Tensor, Tensor]]):
    """Random pictures, the same each time."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(index)
        pixels = torch.randint(0, 256, (4, 16, 16), generator=generator).to(torch.uint8)
        return pixels[:3], pixels[3]


def numbers(item: tuple[Tensor, Tensor]) -> list[int]:
    return [number for tensor in item for number in tensor.flatten().tolist()]


def test_an_item_is_the_others_item_augmented_by_the_generator_of_its_draw() -> None:
    draw = Draw(3, 7, 1)
    dataset = AugmentedDataset(Noise(), build_augment("strong"), seed=9)
    expected = build_augment("strong")(*Noise()[3], generator_of(9, draw))
    assert numbers(dataset[draw]) == numbers(expected)
    assert len(dataset) == 5


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_augment_as_this_process_does(workers: int) -> None:
    dataset = AugmentedDataset(Noise(), build_augment("strong"), seed=0)
    draws = [Draw(index, 4, repeat) for repeat in range(2) for index in range(5)]
    here = [numbers(dataset[draw]) for draw in reversed(draws)][::-1]
    loader = DataLoader(dataset, batch_size=3, sampler=draws, num_workers=workers)
    there = [
        numbers((image, label_map))
        for images, label_maps in loader
        for image, label_map in zip(images, label_maps, strict=True)
    ]
    assert here == there


def test_seed_epoch_index_and_repeat_each_change_the_chance() -> None:
    keys = [(0, Draw(0, 0, 0)), (1, Draw(0, 0, 0))]
    keys += [(0, Draw(1, 0, 0)), (0, Draw(0, 1, 0)), (0, Draw(0, 0, 1)), (0, Draw(1, 1, 1))]
    first = {float(torch.rand((), generator=generator_of(*key))) for key in keys}
    assert len(first) == len(keys)


def test_the_chance_of_everything_else_is_left_alone() -> None:
    state = torch.get_rng_state()
    AugmentedDataset(Noise(), build_augment("strong"), seed=0)[Draw(0, 1, 0)]
    assert torch.equal(state, torch.get_rng_state())


def test_a_draw_is_a_tuple_of_three_numbers() -> None:
    assert Draw(3, 7, 1) == (3, 7, 1)
    assert (Draw(3, 7, 1).index, Draw(3, 7, 1).epoch, Draw(3, 7, 1).repeat) == (3, 7, 1)
