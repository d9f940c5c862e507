"""What a prediction folder holds: an output of each photo is a row of OUTPUTS, with its writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets.labels import LabelSet
from datasets.visualize import (
    Picture,
    colorize,
    outline_width,
    overlay,
    panel,
    with_legend,
    with_names,
)
from runtime.shards import shard_pattern

LONGEST_SIDE = 1024  # pixels of a picture that is one of several side by side
JPEG_LIMIT = 65_500  # pixels that a side of a JPEG can have
QUALITY = 92  # of JPEG: no visible blocks around the outlines

Entry = dict[str, Any]  # of a file in the report

REPORT_NAME = "predictions.json"
SHARDS = shard_pattern(Path(REPORT_NAME))

SCORE_FILES = ("scores.json", "scores.csv", "confusion.png")
RESULT_FILES = (*SCORE_FILES, "results.json", "results_dataset.json")


@dataclass(frozen=True)
class Segmented:
    """A photo and what was predicted for it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label_map: (H, W) uint8 label indices.
        label_set: what they mean.
        probabilities: (C, H, W), as ``models.prediction.Prediction`` has them; None unless the
            output of that name is wanted.
    """

    image: Picture
    label_map: npt.NDArray[np.uint8]
    label_set: LabelSet
    probabilities: npt.NDArray[Any] | None = None

    @cached_property
    def tinted(self) -> Picture:
        """The photo tinted by label, outlined, with names on the larger labels."""
        palette, background = self.label_set.palette(), self.label_set.has_background
        width = outline_width(self.label_map.shape)
        tinted = overlay(self.image, self.label_map, palette, outline=width, background=background)
        return with_names(tinted, self.label_map, self.label_set)


def write_overlay(file: BinaryIO, photo: Segmented) -> None:
    """The tinted photo with a legend, a JPEG."""
    _write_jpeg(file, with_legend(photo.tinted, photo.label_map, photo.label_set))


def write_side_by_side(file: BinaryIO, photo: Segmented) -> None:
    """Photo, labels in their colours, and tinted photo in a row with a legend, a JPEG."""
    labels = colorize(photo.label_map, photo.label_set.palette())
    row = [_fit(picture) for picture in (photo.image, labels, photo.tinted)]
    _write_jpeg(file, with_legend(panel(row), photo.label_map, photo.label_set))


def write_probabilities(file: BinaryIO, photo: Segmented) -> None:
    """The probabilities, and the names of the labels that they are of, an .npz file."""
    assert photo.probabilities is not None
    names = np.array(photo.label_set.names)
    np.savez_compressed(file, probabilities=photo.probabilities, labels=names)


def _write_jpeg(file: BinaryIO, picture: Picture) -> None:
    image = Image.fromarray(_fit(picture, JPEG_LIMIT))
    image.save(file, "JPEG", quality=QUALITY, subsampling=0)


def _fit(picture: Picture, longest: int = LONGEST_SIDE) -> Picture:
    """The picture, made smaller if a side is longer than that."""
    height, width = picture.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


@dataclass(frozen=True)
class Output:
    """A row of OUTPUTS: a file for each photo.

    Attributes:
        folder: where they are, below the prediction folder.
        suffix: of the files.
        writer: what writes one to an open file; None for the mask, which ``PredictionFolder``
            writes when all others of its photo are there.
        flag: the flag that asks for it; empty if it is always written.
        help: what it is, in a few words.
        kinds: what the flag takes, first what it means by itself; empty if it takes nothing.
    """

    folder: str
    suffix: str
    writer: Callable[[BinaryIO, Segmented], None] | None
    flag: str = ""
    help: str = ""
    kinds: tuple[str, ...] = ()

    @property
    def argument(self) -> dict[str, Any]:
        """What argparse is to take for the flag."""
        if not self.kinds:
            return {"action": "store_true"}
        return {"nargs": "?", "choices": self.kinds, "const": self.kinds[0], "metavar": "TYPE"}


OUTPUTS: dict[str, Output] = {
    "mask": Output("masks", ".png", writer=None),
    "overlay": Output("overlays", ".jpg", write_overlay),
    "side_by_side": Output(
        *("side_by_side", ".jpg", write_side_by_side),
        flag="side_by_side",
        help="also photo, labels and overlay in a picture",
    ),
    "probabilities": Output(
        *("probabilities", ".npz", write_probabilities),
        flag="save_probabilities",
        help="also the probability of every label at every pixel, .npz: as uint8 (0..255, if no "
        "type is given) or float16",
        kinds=("uint8", "float16"),
    ),
}


def wanted_outputs(flags: Mapping[str, Any]) -> dict[str, str]:
    """The keys of OUTPUTS that flags (name -> value) ask for, and the kind of each, or ""."""
    values = {name: flags[row.flag] if row.flag else True for name, row in OUTPUTS.items()}
    return {name: value if value is not True else "" for name, value in values.items() if value}


def own_names() -> tuple[str, ...]:
    """The files and folders of a prediction folder but for the reports of shards."""
    return *(row.folder for row in OUTPUTS.values()), REPORT_NAME, *RESULT_FILES
