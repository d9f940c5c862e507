"""Masks to score predictions against, their labels matched by name with those of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from datasets.images import find_pictures
from datasets.label_mapping import REPORT_NAME, labels_of_report
from datasets.labels import IGNORE_INDEX, LabelSet
from datasets.mask_files import read_mask
from datasets.predictions.photos import turn

LabelMap = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Truth:
    """The masks of a folder, as label maps of the network's labels.

    Attributes:
        masks: relative path without suffix -> mask file.
        table: (256,) int16 label index of each pixel value, -1 for values that mean nothing.
        remarks: what a person should know about the match.
    """

    masks: Mapping[str, Path]
    table: npt.NDArray[np.int16]
    remarks: tuple[str, ...] = ()

    def mask_of(self, name: str) -> Path | None:
        """The mask of the image called ``name``: of the same path, whatever the suffix."""
        whole, bare = name, str(PurePosixPath(name).with_suffix(""))
        return self.masks.get(whole, self.masks.get(bare))

    def read(self, path: Path, size: tuple[int, int], orientation: int = 1) -> LabelMap:
        """Read a mask as a label map: (H, W) uint8 label indices and IGNORE_INDEX.

        Args:
            path: the mask.
            size: (height, width) of the image.
            orientation: EXIF's number, if the image was turned by it. A mask describes the pixels
                as they are stored, and is turned likewise, unless it only fits the upright image.

        Raises:
            ValueError: it is no mask, is of another size, or has an unknown pixel value.
            OSError: the file cannot be read.
        """
        mask = read_mask(path)
        turned = turn(mask, orientation)
        if turned.shape == size:
            mask = turned
        if mask.shape != size:
            raise ValueError(
                f"{path} is {mask.shape[0]}x{mask.shape[1]} (height x width), its image "
                f"{size[0]}x{size[1]}; expected masks of the images' own sizes"
            )
        label_map = self.table[mask]
        if label_map.min() < 0:
            values = ", ".join(map(str, np.unique(mask[label_map < 0])))
            raise ValueError(f"{path}: pixel value {values} is no label of the network")
        return label_map.astype(np.uint8)


def load_truth(
    masks_dir: Path, label_set: LabelSet, mask_values: Sequence[int] | None = None
) -> Truth:
    """Find the masks of a folder and match their labels with the network's by name.

    Args:
        masks_dir: with a masks.json that names the labels. Without one, pixel values are taken to
            be those that the network was trained on.
        label_set: the network's labels.
        mask_values: the pixel value of each label in the masks that the network was trained on;
            None: its index.

    Raises:
        ValueError: the folder holds no masks, labels that the network does not know, or a
            masks.json of another program or a newer version.
    """
    masks = {
        path.relative_to(masks_dir).with_suffix("").as_posix(): path
        for path in find_pictures(masks_dir)
    }
    if not masks:
        raise ValueError(f"{masks_dir}: holds no masks")
    table = np.full(256, -1, np.int16)
    table[IGNORE_INDEX] = IGNORE_INDEX
    if not (masks_dir / REPORT_NAME).is_file():
        table[list(mask_values or range(len(label_set)))] = np.arange(len(label_set))
        remark = f"{masks_dir} has no {REPORT_NAME}: pixel values are taken as in training"
        return Truth(masks, table, (remark,))
    names, remarks = _match(masks_dir / REPORT_NAME, label_set)
    table[: len(names)] = [label_set.names.index(name) for name in names]
    return Truth(masks, table, remarks)


def _match(path: Path, label_set: LabelSet) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the masks' labels, all known to the network; and remarks."""
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
    return theirs.names, tuple(remarks)
