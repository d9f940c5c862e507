"""Pixel values of mask files -> label indices, from masks.json or by a look at the masks."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.labels import BACKGROUND, IGNORE_INDEX, Label, LabelSet, voc_color
from datasets.mask_files import read_mask

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1  # of masks.json
REPORT_NAME = "masks.json"


@dataclass(frozen=True)
class LabelMapping:
    """What the pixel values of a folder of masks mean.

    Attributes:
        indices: pixel value -> label index, or IGNORE_INDEX for pixels that do not count.
        label_set: names and colours of the label indices, as ``LabelSet.to_dict`` gives them.
    """

    indices: Mapping[int, int]
    label_set: dict[str, Any]

    @classmethod
    def of_values(cls, values: Sequence[int], label_set: dict[str, Any]) -> LabelMapping:
        """From the pixel value of each label; 255 is IGNORE_INDEX unless it is one of them."""
        return cls(_with_ignored({value: index for index, value in enumerate(values)}), label_set)

    @property
    def values(self) -> tuple[int, ...]:
        """The pixel values that are labels."""
        return tuple(v for v, index in self.indices.items() if index != IGNORE_INDEX)

    def table(self) -> npt.NDArray[np.int16]:
        """(256,) int16: the label index of each pixel value, -1 for values that mean nothing."""
        table = np.full(256, -1, np.int16)
        table[list(self.indices)] = list(self.indices.values())
        return table

    def label_map_of(self, path: Path, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Pixel values (H, W) -> label indices and IGNORE_INDEX (H, W) uint8.

        Args:
            path: of the mask, for the message.
            mask: as ``read_mask`` gives it.

        Raises:
            ValueError: it has a pixel value that means nothing.
        """
        label_map = self.table()[mask]
        if label_map.size and label_map.min() < 0:
            unknown = ", ".join(map(str, np.unique(mask[label_map < 0])))
            known = ", ".join(map(str, self.values))
            raise ValueError(
                f"{path}: pixel value {unknown} is no label; known are {known}, and 255 for "
                "ignored pixels. Make the masks of training and validation alike, with one label "
                "set"
            )
        return label_map.astype(np.uint8)


def read_label_map(path: Path, mapping: LabelMapping) -> npt.NDArray[np.uint8]:
    """Read a mask file as a label map: (H, W) uint8 label indices and IGNORE_INDEX.

    Raises:
        ValueError: the file is no mask, or has a pixel value that the mapping does not know.
        OSError: the file cannot be opened or ends too early.
    """
    return mapping.label_map_of(path, read_mask(path))


def mapping_of_report(masks_dir: Path) -> LabelMapping | None:
    """The label mapping that the masks.json of a folder gives; None if it has none.

    Raises:
        ValueError: masks.json is not of this project.
    """
    path = masks_dir / REPORT_NAME
    if not path.is_file():
        return None
    label_set, remarks = labels_of_report(path)
    for remark in remarks:
        logger.warning("%s", remark)
    return LabelMapping.of_values(range(len(label_set)), label_set.to_dict())


def labels_of_report(path: Path) -> tuple[LabelSet, list[str]]:
    """The label set of a masks.json, and what a person should know about it.

    Raises:
        ValueError: it cannot be read, is not of this project, or is of a newer version.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["format_version"] > FORMAT_VERSION:
            raise ValueError(
                f"it has format version {report['format_version']}, expected at most "
                f"{FORMAT_VERSION}; use the version of this project that wrote it"
            )
        label_set = LabelSet.from_dict(report["label_set"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a mask report of generate_masks.py: {error}") from error
    if report.get("complete", True):
        return label_set, []
    return label_set, [f"{path}: the run that made these masks did not finish; run it again"]


def makes_ignored_pixels(masks_dir: Path) -> bool:
    """Whether the masks.json of a folder says that its masks were made with ignored pixels."""
    try:
        options = json.loads((masks_dir / REPORT_NAME).read_text(encoding="utf-8"))["options"]
        return "ignore" in (options["overlap"], options["crowd"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def mapping_of_values(masks_dir: Path, values: list[int]) -> LabelMapping:
    """The label mapping of a folder without masks.json, from the pixel values of its masks.

    The values become labels in ascending order; the lowest is the background. Value 255 is
    ignored, as usual, but for masks of 0 and 255 alone, where 255 is the object.

    Args:
        masks_dir: for the message.
        values: found in any mask, ascending.

    Raises:
        ValueError: there is nothing to learn.
    """
    if values != [0, 255]:
        values = [value for value in values if value != 255]
    if len(values) < 2:
        raise ValueError(
            f"{masks_dir}: its masks hold no pixel value beside {values or [255]}, so there is "
            "nothing to learn; a mask needs the background and at least one label"
        )
    labels = [Label(f"value {value}", voc_color(i)) for i, value in enumerate(values[1:], 1)]
    logger.info("%s has no masks.json; pixel values found: %s", masks_dir, values)
    if 255 not in values:
        logger.info("pixel value 255, if any, is ignored")
    return LabelMapping.of_values(values, LabelSet("scanned", (BACKGROUND, *labels)).to_dict())


def mapping_to_labels_of(
    masks_dir: Path, label_set: LabelSet, mask_values: Sequence[int] | None = None
) -> tuple[LabelMapping, list[str]]:
    """The mapping of a folder's masks to the labels of a network, matched by name.

    Args:
        masks_dir: with a masks.json that names the labels. Without one, pixel values are taken to
            be those that the network was trained on.
        label_set: the network's labels.
        mask_values: the pixel value of each label in the masks that the network was trained on;
            None: its index.

    Returns:
        The mapping, and what a person should know about the match.

    Raises:
        ValueError: the masks have labels that the network does not know, or a masks.json of
            another program or a newer version.
    """
    path = masks_dir / REPORT_NAME
    if not path.is_file():
        values = mask_values or range(len(label_set))
        remark = f"{masks_dir} has no {REPORT_NAME}: pixel values are taken as in training"
        return LabelMapping.of_values(values, label_set.to_dict()), [remark]
    theirs, remarks = labels_of_report(path)
    unknown = [name for name in theirs.names if name not in label_set.names]
    if unknown or theirs.names[0] != label_set.names[0]:
        raise ValueError(
            f"{path}: its labels do not fit the network's: it has {', '.join(theirs.names)}, the "
            f"network {', '.join(label_set.names)}; make masks with the network's label set"
        )
    missing = [name for name in label_set.names if name not in theirs.names]
    if missing:
        remarks.append(
            f"{path}: knows no {', '.join(missing)}: where the network sees one, it counts as wrong"
        )
    ours = {label.name: set(label.categories) for label in label_set.labels}
    other = [label.name for label in theirs.labels if set(label.categories) != ours[label.name]]
    if other:
        remarks.append(f"{path}: {', '.join(other)}: made of other categories than in training")
    indices = {value: label_set.names.index(name) for value, name in enumerate(theirs.names)}
    return LabelMapping(_with_ignored(indices), label_set.to_dict()), remarks


def _with_ignored(indices: dict[int, int]) -> dict[int, int]:
    return indices if 255 in indices else {**indices, 255: IGNORE_INDEX}
