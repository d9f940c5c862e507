"""Pixel values of masks -> label indices: by masks.json, a description, or a look at them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.label_sets import DESCRIPTION_NAME, DESCRIPTIONS, read_description
from datasets.labels import IGNORE_INDEX, Label, LabelSet, voc_color
from datasets.mask_files import COLORS, number_of, read_mask, value_of

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1  # of masks.json
REPORT_NAME = "masks.json"
MOST_WRITTEN = 10  # values in a message


@dataclass(frozen=True)
class LabelMapping:
    """What the pixel values of a folder of masks mean."""

    indices: Mapping[int, int]  # pixel value, see ``read_mask`` -> label index or IGNORE_INDEX
    label_set: LabelSet  # names and colours of the label indices
    by_color: bool = False  # whether the colours of palettes count, not the indices into them

    @classmethod
    def of_labels(cls, label_set: LabelSet, values: Iterable[int] | None = None) -> LabelMapping:
        """As a label set says; else each label has one of ``values``, by default its index."""
        rows = [(v, i) for i, label in enumerate(label_set.labels) for v in label.values]
        rows = rows or [(v, i) for i, v in enumerate(values or range(len(label_set)))]
        rows += [(value, IGNORE_INDEX) for value in label_set.ignore.values]
        by_color = any(isinstance(value, tuple) for value, _ in rows)
        indices = {number_of(value): index for value, index in rows}
        if not (label_set.ignore.values or by_color):
            indices.setdefault(255, IGNORE_INDEX)
        return cls(indices, label_set, by_color)

    @classmethod
    def of_training(cls, about: Mapping[str, Any]) -> LabelMapping:
        """Of the masks that a network was trained on, by its checkpoint or a prediction report.

        That has "label_set" and, where labels have other values than it says, "mask_values".
        """
        return cls.of_labels(LabelSet.from_dict(about["label_set"]), about.get("mask_values"))

    @property
    def values(self) -> tuple[int, ...]:
        """The pixel values that are labels."""
        return tuple(v for v, index in self.indices.items() if index != IGNORE_INDEX)

    @property
    def mask_values(self) -> list[int] | None:
        """What ``of_training`` needs beside the label set."""
        return None if self.label_set.describes_masks else list(self.values)

    def known(self) -> str:
        """The values that mean something, for messages."""
        ignored = written([v for v, index in self.indices.items() if index == IGNORE_INDEX])
        known = f"known are {written(self.values)}"
        return f"{known}, and {ignored} for ignored pixels" if ignored else known


def written(values: Iterable[int]) -> str:
    """Pixel values as a label set has them, the first ten."""
    texts = [str(list(v) if isinstance(v := value_of(value), tuple) else v) for value in values]
    more = f" and {len(texts) - MOST_WRITTEN} more" if len(texts) > MOST_WRITTEN else ""
    return ", ".join(texts[:MOST_WRITTEN]) + more


def read_label_map(path: Path, mapping: LabelMapping) -> npt.NDArray[np.uint8]:
    """Read a mask file as a label map: (H, W) uint8 label indices and IGNORE_INDEX.

    Raises:
        ValueError: the file is no mask, or has a pixel value that the mapping does not know.
        OSError: the file cannot be opened or ends too early.
    """
    mask = read_mask(path, by_color=mapping.by_color)
    known = np.array(sorted(mapping.indices))
    labels = np.array([mapping.indices[value] for value in known.tolist()], np.int16)
    if mask.dtype == np.uint8:  # most masks: a table is faster
        table = np.full(256, -1, np.int16)
        table[known[known < 256]] = labels[known < 256]
        label_map = table[mask]
    else:
        place = np.searchsorted(known, mask).clip(max=len(known) - 1)
        label_map = np.where(known[place] == mask, labels[place], -1)
    if label_map.size and label_map.min() < 0:
        unknown = written(np.unique(mask[label_map < 0]).tolist())
        raise ValueError(f"{path}: pixel value {unknown} is no label; {mapping.known()}")
    return np.asarray(label_map, np.uint8)


def mapping_of_folder(masks_dir: Path) -> LabelMapping | None:
    """What lies beside masks says of them: masks.json, or a file that describes them; else None.

    Raises:
        ValueError: the file is not what it should be, of a newer version, or there are both.
    """
    path = masks_dir / REPORT_NAME
    described = [file for name in DESCRIPTIONS if (file := masks_dir / name).is_file()]
    if not path.is_file():
        return LabelMapping.of_labels(read_description(described[0])) if described else None
    if described:
        raise ValueError(
            f"{masks_dir} holds {REPORT_NAME} and {described[0].name}, which both say what its "
            "masks mean; remove the one that is not of these masks"
        )
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["format_version"] > FORMAT_VERSION:
            version = f"format version {report['format_version']}, expected at most"
            raise ValueError(f"it is newer than this project: {version} {FORMAT_VERSION}")
        label_set = LabelSet.from_dict(report["label_set"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a mask report of generate_masks.py: {error}") from error
    if not report.get("complete", True):
        logger.warning("%s: the run that made these masks did not finish; run it again", path)
    return LabelMapping.of_labels(label_set)


def makes_ignored_pixels(masks_dir: Path) -> bool:
    """Whether the masks.json of a folder says that its masks were made with ignored pixels."""
    try:
        report = json.loads((masks_dir / REPORT_NAME).read_text(encoding="utf-8"))
        return "ignore" in report["options"].values() or bool(report["label_set"].get("ignore"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def mapping_of_values(masks_dir: Path, values: list[int]) -> LabelMapping:
    """The label mapping of a folder that tells none, from the pixel values of its masks.

    The values become labels in ascending order; 0 is the background. Value 255 is ignored, as
    usual, but for masks of 0 and 255 alone, where 255 is the object.

    Raises:
        ValueError: there is nothing to learn, or it is told by colours.
    """
    describe = f"python -m datasets.label_sets {masks_dir}"
    if values[-1:] >= [COLORS]:
        raise ValueError(
            f"{masks_dir}: its masks are told by colours, {written(values)}; say what they mean: "
            f"{describe} writes a {DESCRIPTION_NAME} to be edited"
        )
    if values != [0, 255]:
        values = [value for value in values if value != 255]
    if len(values) < 2:
        raise ValueError(
            f"{masks_dir}: its masks hold no pixel value beside {values or [255]}: nothing to learn"
        )
    says = "value 0 is taken for the background"
    if values[0]:
        says = f"none is 0, so there is no background: value {values[0]} is a label like others"
    if 255 not in values:
        says += "; 255, if any, is ignored"
    logger.info("%s has no %s; pixel values found: %s", masks_dir, REPORT_NAME, values)
    logger.info("%s; to name them: %s writes a %s", says, describe, DESCRIPTION_NAME)
    first = int(values[0] != 0)  # black is for the background alone
    labels = [
        Label(
            f"value {value}" if value else "background", voc_color(index), values=(value,) * first
        )
        for index, value in enumerate(values, first)
    ]
    return LabelMapping.of_labels(LabelSet("scanned", tuple(labels)), values)


def mapping_to_labels_of(
    masks_dir: Path, about: Mapping[str, Any], described: LabelSet | None = None
) -> LabelMapping:
    """The mapping of a folder's masks to the labels of a network, by name; warns of what is odd.

    Args:
        masks_dir: without a masks.json or description in it, pixel values are taken to be those
            that the network was trained on.
        about: of the network, what ``LabelMapping.of_training`` takes.
        described: what the masks mean, if a person says it; None: what the folder says.

    Raises:
        ValueError: the masks have labels that the network does not know; or see
            ``mapping_of_folder``.
    """
    trained = LabelMapping.of_training(about)
    own = LabelMapping.of_labels(described) if described else mapping_of_folder(masks_dir)
    ours = trained.label_set
    if own is None:
        if not ours.describes_masks:
            text = "%s has no %s: pixel values are taken as in training"
            logger.warning(text, masks_dir, REPORT_NAME)
        return trained
    theirs = own.label_set
    unknown = [name for name in theirs.names if name not in ours.names]
    if unknown or (theirs.has_background and theirs.names[0] != ours.names[0]):
        raise ValueError(
            f"{masks_dir}: its labels do not fit the network's: it has {', '.join(theirs.names)}, "
            f"the network {', '.join(ours.names)}; make or describe masks with the network's labels"
        )
    if missing := ", ".join(name for name in ours.names if name not in theirs.names):
        text = "%s: knows no %s: where the network sees one, it counts as wrong"
        logger.warning(text, masks_dir, missing)
    categories = {label.name: set(label.categories) for label in ours.labels}
    other = ", ".join(
        label.name
        for label in theirs.labels
        if not label.values and set(label.categories) != categories[label.name]
    )
    if other:
        logger.warning("%s: %s: made of other categories than in training", masks_dir, other)
    index_of = {i: ours.names.index(name) for i, name in enumerate(theirs.names)}
    indices = {value: index_of.get(index, IGNORE_INDEX) for value, index in own.indices.items()}
    return LabelMapping(indices, ours, own.by_color)
