"""What is wrong with a folder of images and masks, told before training and not in its midst."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from datasets.label_mapping import (
    LabelMapping,
    makes_ignored_pixels,
    mapping_of_report,
    mapping_of_values,
)
from datasets.training.counts import ValueCounts, _look_at_all
from datasets.training.inspection import KINDS, Finding, Problem, fatal_among
from datasets.training.pairs import Pairs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckedPairs:
    """The pairs of two folders that training can use.

    Attributes:
        pairs: (image path, mask path), at least one.
        label_mapping: what the masks' pixel values mean.
        label_counts: (N, C) int64, pixels of each label in each mask, at its stored size;
            ignored pixels are not counted.
        problems: none of them fatal.
    """

    pairs: tuple[tuple[Path, Path], ...]
    label_mapping: LabelMapping
    label_counts: npt.NDArray[np.int64]
    problems: tuple[Problem, ...]


def check_pairs(pairs: Pairs, mapping: LabelMapping | None, workers: int) -> CheckedPairs:
    """Look at all images and masks, and count labels, in one pass; shows a progress bar.

    Pairs that were good before, and whose files have not changed since, are not looked at again
    (see ``datasets.counts``).

    Args:
        pairs: of one split.
        mapping: for validation the one of training; None takes it from masks.json or, without
            one, from the values that the masks have (see ``mapping_of_values``).
        workers: processes.

    Raises:
        ValueError: there are fatal problems (each told in a line of its own), no pair is left,
            masks.json is not of this project, or the masks hold one value only.
    """
    mapping = mapping or mapping_of_report(pairs.masks_dir)
    usable, found, findings = _look_at_all(pairs, workers)
    problems = _problems(pairs, findings)
    if not found.names:
        _raise(f"{pairs.masks_dir}: no image with its mask is left to use", problems)
    if mapping is None and not fatal_among(problems):
        # Only values that these masks have: kept counts name those of all masks of the folder.
        present = found.values[found.counts.any(axis=0)]
        mapping = mapping_of_values(pairs.masks_dir, present.tolist())
    if mapping is not None:
        problems += _label_problems(pairs.masks_dir, found, mapping)
    if fatal_among(problems) or mapping is None:
        _raise(f"{pairs.masks_dir}: these masks cannot be trained on", fatal_among(problems))
    return CheckedPairs(usable, mapping, found.of_values(mapping.values), tuple(problems))


def _problems(pairs: Pairs, findings: Iterable[Finding]) -> list[Problem]:
    folders = {"image": pairs.images_dir, "mask": pairs.masks_dir}
    files: dict[str, list[tuple[str, str]]] = {kind: [] for kind in KINDS}
    lonely = [Finding("image_without_mask", path) for path in pairs.images_without_mask]
    lonely += [Finding("mask_without_image", path) for path in pairs.masks_without_image]
    for finding in (*lonely, *findings):
        folder = folders[KINDS[finding.kind].role]
        files[finding.kind].append((str(finding.path.relative_to(folder)), finding.detail))
    return [
        Problem(kind, folders[KINDS[kind].role], tuple(found))
        for kind, found in files.items()
        if found
    ]


def _label_problems(masks_dir: Path, found: ValueCounts, mapping: LabelMapping) -> list[Problem]:
    """What the pixel values tell: unknown ones, and masks of 0 and 255 where 255 is no label."""
    problems = []
    table, present = mapping.table(), found.counts > 0  # N, K
    unknown = table[found.values] < 0  # K
    rows = np.flatnonzero(present[:, unknown].any(axis=1)).tolist()
    known = ", ".join(map(str, mapping.values))
    files = tuple(
        (found.names[row], ", ".join(map(str, found.values[present[row] & unknown])))
        for row in rows
    )
    if files:
        first = (files[0][0], f"{files[0][1]}; known are {known}, and 255 for ignored pixels")
        problems.append(Problem("unknown_label", masks_dir, (first, *files[1:])))
    if 255 in mapping.values or makes_ignored_pixels(masks_dir):
        return problems
    marked = present[:, found.values != 0].any(axis=1)
    binary = marked & present[:, found.values == 0].any(axis=1)
    binary &= ~present[:, (found.values != 0) & (found.values != 255)].any(axis=1)
    if binary.any():
        kind = "binary" if 2 * binary.sum() > marked.sum() else "some_binary"
        names = tuple((found.names[row], "") for row in np.flatnonzero(binary).tolist())
        problems.append(Problem(kind, masks_dir, names))
    return problems


def _raise(heading: str, problems: Iterable[Problem]) -> NoReturn:
    raise ValueError("\n".join([f"{heading}:", *(f"  {problem}" for problem in problems)]))
