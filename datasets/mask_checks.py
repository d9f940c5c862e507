"""What is wrong with a folder of images and masks, told before training and not in its midst."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from datasets.inspection import KINDS, Finding, look_at_all
from datasets.label_mapping import (
    LabelMapping,
    makes_ignored_pixels,
    mapping_of_folder,
    mapping_of_values,
    written,
)
from datasets.labels import IGNORE_INDEX
from datasets.mask_files import palette_of, read_mask
from datasets.pairs import Pairs, PathPairs

logger = logging.getLogger(__name__)

MAX_NAMED = 10  # files of one kind of problem
MANY_STRAYS = 6  # values that cover no square anywhere
MOST_DECODED = 20  # masks in which squares are sought, those of the most values

Counts = Mapping[int, Mapping[int, int]]  # usable pairs, by number -> pixels of each value


@dataclass(frozen=True)
class CheckedPairs:
    """The pairs of two folders that training can use."""

    pairs: PathPairs  # at least one
    label_mapping: LabelMapping  # what the masks' pixel values mean
    # (N, C) int32, pixels of each label in each mask, at its stored size, but for ignored ones.
    label_counts: npt.NDArray[np.int32]
    problems: tuple[str, ...]  # a line each, of those that are not fatal; they were said


def check_pairs(
    pairs: Pairs,
    mapping: LabelMapping | None,
    workers: int,
    *,
    images: bool = True,
    trust_values: bool = False,
) -> CheckedPairs:
    """Look at all images and masks, and count labels, in one pass; says what is left out and why.

    Pairs that were good before, and whose files have not changed since, are not looked at again.

    Args:
        pairs, workers: of one split; processes.
        mapping: for validation the one of training; None takes it from masks.json or, without
            one, from the values that the masks have (see ``mapping_of_values``).
        images: whether problems of images count; to score predictions, only those of masks do.
        trust_values: whether to learn values that look smeared.

    Raises:
        ValueError: there are fatal problems (each told in a line of its own), no pair is left,
            masks.json is not of this project, or the masks hold one value only.
    """
    mapping = mapping or mapping_of_folder(pairs.masks_dir)
    looks = look_at_all(pairs, workers, by_color=mapping is not None and mapping.by_color)
    findings: list[Finding] = []
    found: dict[int, dict[int, int]] = {}
    for number, (wrong, counts) in enumerate(looks):
        wrong = [one for one in wrong if images or one.kind.role == "mask"]
        findings += wrong
        if all(one.kind.outcome == "kept" for one in wrong):
            found[number] = counts
    findings += [Finding("image_without_mask", path) for path in pairs.images_without_mask]
    findings += [Finding("mask_without_image", path) for path in pairs.masks_without_image]
    if not found and images:
        raise _refused(pairs, "no image with its mask is left to use", findings)
    if mapping is None and not trust_values:
        findings += _smeared(pairs, found)
    if mapping is None and all(one.kind.outcome != "fatal" for one in findings):
        values = {value for counts in found.values() for value in counts}
        mapping = mapping_of_values(pairs.masks_dir, sorted(values))
    if mapping is not None:
        findings += _label_problems(pairs, found, mapping)
    fatal = [one for one in findings if one.kind.outcome == "fatal"]
    if fatal or mapping is None:
        use = "trained on" if images else "scored against"
        raise _refused(pairs, f"these masks cannot be {use}", fatal)
    label_counts = _count_labels(pairs.masks_dir, found, mapping)
    problems = tuple(told(findings, pairs))
    for problem in problems:
        logger.warning("%s", problem)
    return CheckedPairs(pairs.pairs[list(found)], mapping, label_counts, problems)


def _count_labels(masks_dir: Path, found: Counts, mapping: LabelMapping) -> npt.NDArray[np.int32]:
    """The label counts of ``CheckedPairs``; says how many pixels are ignored, if any are."""
    counts = np.zeros((len(found), len(mapping.label_set) + 1), np.int32)  # the last: ignored
    for row, values in enumerate(found.values()):
        for value, pixels in values.items():
            label = mapping.indices[value]
            counts[row, -1 if label == IGNORE_INDEX else label] += pixels
    ignored = counts[:, -1]
    if ignored.any():
        share, masks = ignored.sum() / counts.sum(), np.count_nonzero(ignored)
        text = "%s: %.2f%% of the pixels are ignored, in %d of %d masks"
        logger.info(text, masks_dir, 100 * share, masks, len(found))
    return np.ascontiguousarray(counts[:, :-1])


def _label_problems(pairs: Pairs, found: Counts, mapping: LabelMapping) -> list[Finding]:
    """What the pixel values tell: unknown ones, and masks of 0 and 255 where 255 is no label."""
    problems: list[Finding] = []
    for number, counts in found.items():
        if values := sorted(counts.keys() - mapping.indices.keys()):
            path = pairs.pairs[number][1]
            detail, colors = written(values), palette_of(path)
            if not problems:
                color = f" (colour {colors[values[0]]})" if values[0] < len(colors) else ""
                detail += f"{color}; {mapping.known()}"
            problems.append(Finding("unknown_label", path, detail))
    meant = 255 in mapping.label_set.ignore.values or makes_ignored_pixels(pairs.masks_dir)
    if meant or mapping.indices.get(255) != IGNORE_INDEX:
        return problems
    marked = sum(counts.keys() != {0} for counts in found.values())
    binary = [number for number, counts in found.items() if counts.keys() == {0, 255}]
    kind = "binary" if 2 * len(binary) > marked else "some_binary"
    return problems + [Finding(kind, mask) for _, mask in pairs.pairs[binary]]


def _smeared(pairs: Pairs, found: Counts) -> list[Finding]:
    """Masks with values that fill no square of 3 x 3 pixels in any, if such are most of many.

    A label covers some square in some mask. What a filter has put between two labels does not.
    """
    many = len({value for counts in found.values() for value in counts}) > MANY_STRAYS
    most = sorted(found, key=lambda number: -len(found[number]))[:MOST_DECODED]
    values: dict[Path, set[int]] = {}
    solid: set[int] = set()
    for _, path in pairs.pairs[most] if many else ():
        mask = read_mask(path)
        values[path] = set(np.unique(mask).tolist())
        if min(mask.shape) >= 3:
            same = sliding_window_view(mask, (3, 3)) == mask[1:-1, 1:-1, None, None]
            solid |= set(np.unique(mask[1:-1, 1:-1][same.all(axis=(2, 3))]).tolist())
    strays = set().union(*values.values()) - solid
    if len(strays) < MANY_STRAYS or len(strays) <= len(solid):
        return []
    return [
        Finding("smeared", path, written(sorted(some - solid)))
        for path, some in values.items()
        if some - solid
    ]


def told(findings: Iterable[Finding], pairs: Pairs) -> list[str]:
    """A line for each kind of problem: how many files, the first ten by name, what to do."""
    by_kind: dict[str, list[Finding]] = {name: [] for name in KINDS}
    for finding in findings:
        by_kind[finding.name].append(finding)
    lines = []
    for name, found in by_kind.items():
        kind, count = KINDS[name], len(found)
        folder = pairs.images_dir if kind.role == "image" else pairs.masks_dir
        names = [
            str(one.path.relative_to(folder)) + (f" ({one.detail})" if one.detail else "")
            for one in found[:MAX_NAMED]
        ]
        what = f"{folder}: {count:,} {kind.role}{'s' * (count > 1)} {kind.what}"
        outcome = "" if kind.outcome == "fatal" else f", {kind.outcome}"
        more = f" and {count - MAX_NAMED:,} more" if count > MAX_NAMED else ""
        advice = f"; {kind.advice}" if kind.advice else ""
        if found:
            lines.append(f"{what}{outcome}: {', '.join(names)}{more}{advice}")
    return lines


def _refused(pairs: Pairs, why: str, findings: Iterable[Finding]) -> ValueError:
    lines = (f"  {line}" for line in told(findings, pairs))
    return ValueError("\n".join([f"{pairs.masks_dir}: {why}:", *lines]))
