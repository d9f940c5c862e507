"""The folder that predictions go to.

masks/             a palette PNG an image, of its size, pixel value = label index
overlays/          the image tinted by label, with a legend
side_by_side/      on request: image, label map and overlay in one picture
probabilities/     on request: the probability of every label at every pixel
predictions.json   an entry for each file: what was written, or why nothing was

A mask is written after everything else of its image, and carries in a PNG text chunk a fingerprint
of all it was made from, and its entry. So a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets.labels import LabelSet
from datasets.mask_files import read_stamp, write_mask
from datasets.predictions.layout import SUFFIXES, Entry
from datasets.visualize import (
    Picture,
    colorize,
    outline_width,
    overlay,
    panel,
    with_legend,
    with_names,
)
from runtime.files import replacing

if TYPE_CHECKING:  # the search for photos knows this folder, to leave it out
    from datasets.predictions.photo_files import PhotoFile
    from datasets.predictions.photos import Photo


STAMP = "coco-unet prediction"  # keyword of the text chunk
STAMP_VERSION = 1  # raised when equal input no longer gives equal outputs

LONGEST_SIDE = 1024  # pixels of a picture that is one of several side by side
JPEG_LIMIT = 65_500  # pixels that a side of a JPEG can have
QUALITY = 92  # of JPEG: no visible blocks around the outlines


@dataclass(frozen=True)
class PredictionFolder:
    """Writes what is predicted for an image, or finds that it is there already.

    Its methods may be called by several threads at once, for different images.

    Attributes:
        path: the folder; made by the first image.
        label_set: what the label maps mean.
        made_from: checkpoint and options, plain types: what decides the label maps beside images.
        side_by_side: whether to write ``side_by_side``.
        probabilities: whether to write ``probabilities``.
        overwrite: redo what is up to date, and replace files that others made.
    """

    path: Path
    label_set: LabelSet
    made_from: Mapping[str, Any]
    side_by_side: bool = False
    probabilities: bool = False
    overwrite: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        """The keys of SUFFIXES that are wanted."""
        wanted = {"side_by_side": self.side_by_side, "probabilities": self.probabilities}
        return tuple(name for name in SUFFIXES if wanted.get(name, True))

    def kept(self, file: PhotoFile) -> Entry | None:
        """The entry of a file whose outputs are all there and up to date; None if one is not.

        A mask without its end, or without any content, is not there.

        Raises:
            ValueError: a file of another program has the name of the mask.
        """
        paths = {name: self.path / place for name, place in self._places(file).items()}
        stamp = {} if self.overwrite else read_stamp(paths["mask"], STAMP)
        if stamp == {}:
            return None
        if stamp is None or not {"fingerprint", "outputs", "entry"} <= stamp.keys():
            raise ValueError(
                f"{paths['mask']} is not a mask of this command, and is kept; move it away or use "
                "--overwrite"
            )
        try:
            up_to_date = stamp["fingerprint"] == self._fingerprint(file, file.path.stat())
        except OSError:  # the photo is gone
            return None
        up_to_date &= all(name in stamp["outputs"] and p.is_file() for name, p in paths.items())
        return stamp["entry"] if up_to_date else None

    def write(
        self,
        photo: Photo,
        label_map: npt.NDArray[np.uint8],
        probabilities: npt.NDArray[Any] | None = None,
    ) -> Entry:
        """Write the outputs of an image; gives its entry.

        Args:
            photo: what was read, without a problem.
            label_map: (H, W) uint8.
            probabilities: (C, H, W), as ``models.prediction.Prediction`` has them.

        Raises:
            OSError: a file cannot be written; there is then no mask, or the one from before.
        """
        image, status = photo.image, photo.status
        assert image is not None and status is not None
        places = self._places(photo.file)
        for place in places.values():
            (self.path / place).parent.mkdir(parents=True, exist_ok=True)
        palette = self.label_set.palette()
        width, background = outline_width(label_map.shape), self.label_set.has_background
        tinted = overlay(image, label_map, palette, outline=width, background=background)
        tinted = with_names(tinted, label_map, self.label_set)
        picture = with_legend(tinted, label_map, self.label_set)
        _write_jpeg(self.path / places["overlay"], picture)
        if self.side_by_side:
            row = [_fit(each) for each in (image, colorize(label_map, palette), tinted)]
            small = with_legend(panel(row), label_map, self.label_set)
            _write_jpeg(self.path / places["side_by_side"], small)
        if self.probabilities and probabilities is not None:
            path = self.path / places["probabilities"]
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(
                    file, probabilities=probabilities, labels=np.array(self.label_set.names)
                )
        shares = np.bincount(label_map.ravel(), minlength=len(self.label_set)) / label_map.size
        entry = {
            "file": photo.file.name,
            "status": "written",
            **{name: str(place) for name, place in places.items() if name != "probabilities"},
            "height": label_map.shape[0],
            "width": label_map.shape[1],
            **({"exif_orientation": photo.orientation} if photo.orientation != 1 else {}),
            **({"remark": "the first picture of several in the file"} if photo.is_first else {}),
            "label_shares": dict(zip(self.label_set.names, shares.round(6).tolist(), strict=True)),
        }
        stamp = {
            "fingerprint": self._fingerprint(photo.file, status),
            "outputs": list(self.outputs),
            "entry": entry,
        }
        write_mask(
            self.path / places["mask"], label_map, bytes(palette), {STAMP: json.dumps(stamp)}
        )
        return entry

    def _places(self, file: PhotoFile) -> dict[str, str]:
        """Where each wanted output of a file is, below the folder."""
        return {name: place_of(name, file) for name in self.outputs}

    def _fingerprint(self, file: PhotoFile, status: os.stat_result) -> str:
        digest = self._digest.copy()
        digest.update(json.dumps([file.name, status.st_size, status.st_mtime_ns]).encode())
        return digest.hexdigest()[:32]

    @cached_property
    def _digest(self) -> hashlib._Hash:
        made_from = [STAMP_VERSION, dict(self.made_from), self.label_set.to_dict()]
        return hashlib.sha256(json.dumps(made_from).encode())


def place_of(output: str, file: PhotoFile) -> str:
    """Where an output of a file is, below the prediction folder."""
    folder, suffix = SUFFIXES[output]
    return f"{folder}/{file.output}{suffix}"


def left_out(file: PhotoFile, problem: str, status: str | None = None) -> Entry:
    """The entry of a file without outputs: "skipped" if it never was a picture, else "failed"."""
    status = status or ("failed" if file.is_picture else "skipped")
    return {"file": file.name, "status": status, "reason": problem}


def _write_jpeg(path: Path, picture: Picture) -> None:
    with replacing(path) as temporary:
        Image.fromarray(_fit(picture, JPEG_LIMIT)).save(
            temporary, "JPEG", quality=QUALITY, subsampling=0
        )


def _fit(picture: Picture, longest: int = LONGEST_SIDE) -> Picture:
    """The picture, made smaller if a side is longer than that."""
    height, width = picture.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
