"""The masks that predictions are scored against: found by name, turned with their photos."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.images import turn
from datasets.label_mapping import LabelMapping, mapping_to_labels_of, read_label_map
from datasets.labels import LabelSet
from datasets.mask_checks import check_pairs
from datasets.mask_files import read_mask
from datasets.pairs import Pairs, PathPairs, no_pair, pictures_by_key
from datasets.predictions.outputs import Entry

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Truth:
    """Masks by the name of their photo, and what their pixel values are to the network."""

    masks: Mapping[str, Path]
    mapping: LabelMapping

    def read(self, entry: Entry) -> npt.NDArray[np.uint8]:
        """The mask of an entry of predictions.json: (H, W) label indices and IGNORE_INDEX.

        A mask describes the pixels as they are stored, and is turned as its photo was, unless it
        only fits the upright image.

        Raises:
            ValueError: it is no mask, is of another size, or has an unknown pixel value.
            OSError: the file cannot be read.
        """
        path, size = self.masks[entry["file"]], (entry["height"], entry["width"])
        label_map = read_label_map(path, self.mapping)
        turned = turn(label_map, entry.get("exif_orientation", 1))
        if turned.shape == size:
            label_map = turned
        if label_map.shape != size:
            height, width = label_map.shape
            raise ValueError(
                f"{path} is {height}x{width} (height x width), its image "
                f"{size[0]}x{size[1]}; expected masks of the images' own sizes"
            )
        return label_map

    def pairs(self, output_dir: Path, entries: Sequence[Entry]) -> dict[str, Callable[[], Any]]:
        """By file, what reads truth and prediction where there are both; warns of doubtful ones."""

        def read(entry: Entry) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
            return self.read(entry), read_mask(output_dir / entry["mask"])

        compared = [entry for entry in entries if entry["file"] in self.masks]
        unsure = []
        for entry in compared:
            turns = range(2, 9 if entry["height"] == entry["width"] else 5)  # to the same size
            unsure += [entry["file"]] * (entry.get("exif_orientation", 1) in turns)
        if unsure:
            text = (
                "%d of the masks fit their photo whether EXIF turns it or not, such as that of %s: "
                "they are taken to show the stored pixels; if they do not, turn the photos first"
            )
            logger.warning(text, len(unsure), unsure[0])
        return {entry["file"]: partial(read, entry) for entry in compared}


def find_masks(masks_dir: Path, names: Sequence[str]) -> dict[str, Path]:
    """The mask of each photo that has one: ``c.jpg`` has ``c.jpg.png``, or else ``c.png``.

    Raises:
        ValueError: none has one.
    """
    masks = pictures_by_key(masks_dir)
    bare = {name: str(PurePosixPath(name).with_suffix("")) for name in names}
    found = {name: mask for name in names if (mask := masks.get(name, masks.get(bare[name])))}
    if not found:
        raise ValueError(no_pair("those to predict", min(bare.values()), masks_dir, min(masks)))
    return found


def load_truth(
    masks_dir: Path,
    masks: Mapping[str, Path],
    photos: Mapping[str, Path],
    about: Mapping[str, Any],
    workers: int,
    described: LabelSet | None = None,
) -> Truth:
    """Check the masks of photos as training does; warns of what is odd.

    Args:
        masks: of any photos, see ``find_masks``.
        about: what the report says of the network: "label_set" and "mask_values".
        workers: processes that look at masks.
        described: what the masks mean, if a person says it.

    Raises:
        ValueError: see ``mapping_to_labels_of`` and ``check_pairs``.
    """
    mapping = mapping_to_labels_of(masks_dir, about, described)
    both = ((path, masks[name]) for name, path in photos.items() if name in masks)
    pairs = Pairs(Path(), masks_dir, PathPairs(Path(), masks_dir, both))
    check_pairs(pairs, mapping, workers, images=False)
    return Truth(masks, mapping)
