"""What is wrong with a folder of images and masks, told before training and not in its midst."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from datasets.inspection import Finding, told
from datasets.label_mapping import (
    LabelMapping,
    makes_ignored_pixels,
    mapping_of_folder,
    mapping_of_values,
    written,
)
from datasets.labels import IGNORE_INDEX
from datasets.mask_counts import ValueCounts, look_at_all
from datasets.mask_files import palette_of, read_mask
from datasets.pairs import Pairs

logger = logging.getLogger(__name__)

MANY_STRAYS = 6  # values that cover no square anywhere
MOST_DECODED = 20  # masks in which squares are sought, those of the most values


@dataclass(frozen=True)
class CheckedPairs:
    """The pairs of two folders that training can use.

    Attributes:
        pairs: (image path, mask path), at least one.
        label_mapping: what the masks' pixel values mean.
        label_counts: (N, C) int64, pixels of each label in each mask, at its stored size;
            ignored pixels are not counted.
        problems: a line each, of those that are not fatal.
    """

    pairs: tuple[tuple[Path, Path], ...]
    label_mapping: LabelMapping
    label_counts: npt.NDArray[np.int64]
    problems: tuple[str, ...]


def check_pairs(
    pairs: Pairs,
    mapping: LabelMapping | None,
    workers: int,
    *,
    images: bool = True,
    trust_values: bool = False,
) -> CheckedPairs:
    """Look at all images and masks, and count labels, in one pass; shows a progress bar.

    Pairs that were good before, and whose files have not changed since, are not looked at again
    (see ``mask_counts``).

    Args:
        pairs: of one split.
        mapping: for validation the one of training; None takes it from masks.json or, without
            one, from the values that the masks have (see ``mapping_of_values``).
        workers: processes.
        images: whether problems of images count; to score predictions, only those of masks do.
        trust_values: whether to learn values that look smeared.

    Raises:
        ValueError: there are fatal problems (each told in a line of its own), no pair is left,
            masks.json is not of this project, or the masks hold one value only.
    """
    mapping = mapping or mapping_of_folder(pairs.masks_dir)
    folders = {"image": pairs.images_dir, "mask": pairs.masks_dir}
    usable, found, findings = look_at_all(
        pairs, workers, by_color=mapping is not None and mapping.by_color, images=images
    )
    findings += [Finding("image_without_mask", path) for path in pairs.images_without_mask]
    findings += [Finding("mask_without_image", path) for path in pairs.masks_without_image]
    if not found.names and images:
        lines = told(findings, folders)
        _raise(f"{pairs.masks_dir}: no image with its mask is left to use", lines)
    if mapping is None and not trust_values:
        findings += _smeared(pairs.masks_dir, found)
    if mapping is None and not any(finding.is_fatal for finding in findings):
        # Only values that these masks have: kept counts name those of all masks of the folder.
        present = found.values[found.counts.any(axis=0)]
        mapping = mapping_of_values(pairs.masks_dir, present.tolist())
    if mapping is not None:
        findings += _label_problems(pairs.masks_dir, found, mapping)
    fatal = [finding for finding in findings if finding.is_fatal]
    if fatal or mapping is None:
        use = "trained on" if images else "scored against"
        _raise(f"{pairs.masks_dir}: these masks cannot be {use}", told(fatal, folders))
    labels = mapping.labels_of(found.values)
    counts = [found.counts[:, labels == i].sum(axis=1) for i in range(mapping.num_labels)]
    ignored = found.counts[:, labels == IGNORE_INDEX].sum(axis=1)
    logger.info(
        "%s: %.2f%% of the pixels are ignored, in %d of %d masks",
        *(pairs.masks_dir, 100 * ignored.sum() / max(1, found.counts.sum())),
        *(np.count_nonzero(ignored), len(ignored)),
    )
    return CheckedPairs(usable, mapping, np.stack(counts, axis=1), tuple(told(findings, folders)))


def _label_problems(masks_dir: Path, found: ValueCounts, mapping: LabelMapping) -> list[Finding]:
    """What the pixel values tell: unknown ones, and masks of 0 and 255 where 255 is no label."""
    present = found.counts > 0  # N, K
    unknown = mapping.labels_of(found.values) < 0  # K
    problems: list[Finding] = []
    for row in np.flatnonzero(present[:, unknown].any(axis=1)).tolist():
        path, values = masks_dir / found.names[row], found.values[present[row] & unknown].tolist()
        detail, colors = written(values), palette_of(path)
        if not problems:
            color = f" (colour {colors[values[0]]})" if values[0] < len(colors) else ""
            detail += f"{color}; {mapping.known()}{_cure(mapping, values[0])}"
        problems.append(Finding("unknown_label", path, detail))
    meant = 255 in mapping.label_set.get("ignore", []) or makes_ignored_pixels(masks_dir)
    if meant or mapping.indices.get(255) != IGNORE_INDEX:
        return problems
    marked = present[:, found.values != 0].any(axis=1)
    binary = marked & present[:, found.values == 0].any(axis=1)
    binary &= ~present[:, (found.values != 0) & (found.values != 255)].any(axis=1)
    kind = "binary" if 2 * binary.sum() > marked.sum() else "some_binary"
    rows = np.flatnonzero(binary).tolist()
    return problems + [Finding(kind, masks_dir / found.names[row]) for row in rows]


def _smeared(masks_dir: Path, found: ValueCounts) -> list[Finding]:
    """Masks with values that fill no square of 3 x 3 pixels in any, if such are most of many.

    A label covers some square in some mask. What a filter has put between two labels does not.
    """
    names = [found.names[row] for row in np.argsort(-(found.counts > 0).sum(axis=1), kind="stable")]
    values: dict[str, set[int]] = {}
    solid: set[int] = set()
    for name in names[:MOST_DECODED] if len(found.values) > MANY_STRAYS else ():
        mask = read_mask(masks_dir / name)
        values[name] = set(np.unique(mask).tolist())
        if min(mask.shape) >= 3:
            same = sliding_window_view(mask, (3, 3)) == mask[1:-1, 1:-1, None, None]
            solid |= set(np.unique(mask[1:-1, 1:-1][same.all(axis=(2, 3))]).tolist())
    seen = set().union(*values.values())
    if len(seen - solid) < MANY_STRAYS or len(seen - solid) <= len(solid):
        return []
    return [
        Finding("smeared", masks_dir / name, written(sorted(some - solid)))
        for name, some in values.items()
        if some - solid
    ]


def _cure(mapping: LabelMapping, value: int) -> str:
    """What to add to the file that describes the masks, if there is one."""
    if mapping.mask_values is not None:
        return ""
    return (
        f'; to name it, add {{"name": "NAME", "values": [{written([value])}]}} to the labels of '
        f'{mapping.label_set["name"]!r}, or {written([value])} to its "ignore"'
    )


def _raise(heading: str, problems: Iterable[str]) -> NoReturn:
    raise ValueError("\n".join([f"{heading}:", *(f"  {problem}" for problem in problems)]))
