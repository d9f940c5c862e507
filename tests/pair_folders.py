"""Folders of tiny pairs for the tests of what train.py does before its first step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets.label_mapping import LabelMapping, read_label_map
from datasets.labels import Label, LabelSet
from datasets.mask_checks import CheckedPairs, check_pairs
from datasets.pairs import pair_images_and_masks


def mapping_of(*values: int) -> LabelMapping:
    """Label i is the i-th value."""
    labels = tuple(Label(f"label {value}", (value, 0, 0)) for value in values)
    return LabelMapping.of_labels(LabelSet("plain", labels), values)


MAPPING = mapping_of(0, 1, 2)
NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
LABELS = NOISE[..., 0] % 3


def save(path: Path, pixels: np.ndarray, **options: Any) -> None:
    Image.fromarray(pixels).save(path, **options)


def write_pairs(folder: Path) -> Path:
    """images/ and masks/ with the pairs a, b, c, d: all good."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number, name in enumerate("abcd"):
        save(folder / f"images/{name}.jpg", NOISE)
        save(folder / f"masks/{name}.png", np.roll(LABELS, number) % (2 if name == "b" else 3))
    return folder


def check(data: Path, mapping: LabelMapping | None = MAPPING, workers: int = 1) -> CheckedPairs:
    """``check_pairs`` of what ``write_pairs`` wrote."""
    return check_pairs(pair_images_and_masks(data / "images", data / "masks"), mapping, workers)


def counted(masks: Iterable[Path]) -> list[list[int]]:
    """Pixels of each label of MAPPING, one mask and one label at a time."""
    label_maps = [read_label_map(mask, MAPPING) for mask in masks]
    labels = range(len(MAPPING.values))
    return [[int((label_map == label).sum()) for label in labels] for label_map in label_maps]
