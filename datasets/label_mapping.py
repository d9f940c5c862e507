"""Pixel values of mask files -> label indices, from masks.json or by a look at the masks."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datasets.labels import BACKGROUND, IGNORE_INDEX, Label, LabelSet, voc_color
from datasets.mask_files import read_mask

if TYPE_CHECKING:  # training reads masks.json too, and draws nothing
    pass


logger = logging.getLogger(__name__)

FORMAT_VERSION = 1  # of masks.json
REPORT_NAME = "masks.json"


@dataclass(frozen=True)
class LabelMapping:
    """What the pixel values of a folder of masks mean.

    Attributes:
        values: the pixel value of each label index; pixel value 255 is IGNORE_INDEX unless it is
            one of them.
        label_set: names and colours of the label indices, as ``LabelSet.to_dict`` gives them.
    """

    values: tuple[int, ...]
    label_set: dict[str, Any]

    def table(self) -> npt.NDArray[np.int16]:
        """(256,) int16: the label index of each pixel value, -1 for values that mean nothing."""
        table = np.full(256, -1, np.int16)
        table[255] = IGNORE_INDEX
        table[list(self.values)] = np.arange(len(self.values))
        return table


def read_label_map(path: Path, mapping: LabelMapping) -> npt.NDArray[np.uint8]:
    """Read a mask file as a label map: (H, W) uint8 label indices and IGNORE_INDEX.

    Raises:
        ValueError: the file is no mask, or has a pixel value that the mapping does not know.
        OSError: the file cannot be opened or ends too early.
    """
    mask = read_mask(path)
    label_map = mapping.table()[mask]
    if label_map.size and label_map.min() < 0:
        unknown = ", ".join(map(str, np.unique(mask[label_map < 0])))
        known = ", ".join(map(str, mapping.values))
        raise ValueError(
            f"{path}: pixel value {unknown} is no label; known are {known}, and 255 for ignored "
            "pixels. Make the masks of training and validation alike, with one label set"
        )
    return label_map.astype(np.uint8)


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
    return LabelMapping(tuple(range(len(label_set))), label_set.to_dict())


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
    return LabelMapping(tuple(values), LabelSet("scanned", (BACKGROUND, *labels)).to_dict())
