"""Augmented samples by draw: the same wherever and whenever they are made."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datasets.training.augmentation import AugmentedDataset, build_augment


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
    dataset = AugmentedDataset(Noise(), build_augment("strong"))
    expected = build_augment("strong")(*Noise()[3], torch.Generator().manual_seed(9))
    assert numbers(dataset[3, 9]) == numbers(expected)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_augment_as_this_process_does(workers: int) -> None:
    dataset = AugmentedDataset(Noise(), build_augment("strong"))
    draws = [(index, seed) for seed in range(2) for index in range(5)]
    here = [numbers(dataset[draw]) for draw in reversed(draws)][::-1]
    loader = DataLoader(dataset, batch_size=3, sampler=draws, num_workers=workers)
    there = [
        numbers((image, label_map))
        for images, label_maps in loader
        for image, label_map in zip(images, label_maps, strict=True)
    ]
    assert here == there


def test_the_chance_of_everything_else_is_left_alone() -> None:
    state = torch.get_rng_state()
    AugmentedDataset(Noise(), build_augment("strong"))[0, 1]
    assert torch.equal(state, torch.get_rng_state())
