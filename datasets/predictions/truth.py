"""The masks that predictions are scored against: found by name, turned with their photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from datasets.images import find_pictures
from datasets.label_mapping import LabelMapping, mapping_to_labels_of
from datasets.labels import LabelSet
from datasets.mask_files import read_mask
from datasets.predictions.photos import turn


@dataclass(frozen=True)
class Truth:
    """The masks of a folder.

    Attributes:
        masks: relative path without suffix -> mask file.
        mapping: of their pixel values to the network's labels.
        remarks: what a person should know about the mapping.
    """

    masks: Mapping[str, Path]
    mapping: LabelMapping
    remarks: tuple[str, ...] = ()

    def mask_of(self, name: str) -> Path | None:
        """The mask of the image called ``name``: of the same path, whatever the suffix."""
        whole, bare = name, str(PurePosixPath(name).with_suffix(""))
        return self.masks.get(whole, self.masks.get(bare))

    def read(
        self, path: Path, size: tuple[int, int], orientation: int = 1
    ) -> npt.NDArray[np.uint8]:
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
        return self.mapping.label_map_of(path, mask)


def load_truth(
    masks_dir: Path, label_set: LabelSet, mask_values: Sequence[int] | None = None
) -> Truth:
    """Find the masks of a folder, and what their pixel values mean to a network.

    Args:
        masks_dir: the folder.
        label_set, mask_values: of the network, see ``mapping_to_labels_of``.

    Raises:
        ValueError: the folder holds no masks; or see ``mapping_to_labels_of``.
    """
    masks = {
        path.relative_to(masks_dir).with_suffix("").as_posix(): path
        for path in find_pictures(masks_dir)
    }
    if not masks:
        raise ValueError(f"{masks_dir}: holds no masks")
    mapping, remarks = mapping_to_labels_of(masks_dir, label_set, mask_values)
    return Truth(masks, mapping, tuple(remarks))
