"""The folder that predictions go to, see ``outputs``.

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
from pkgutil import resolve_name
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.labels import LabelSet
from datasets.mask_files import read_stamp, write_mask
from datasets.predictions.outputs import OUTPUTS, Entry, place_of
from datasets.predictions.photo_files import PhotoFile
from datasets.predictions.photos import Photo
from datasets.predictions.writers import Segmented
from runtime.files import replacing

STAMP = "coco-unet prediction"  # keyword of the text chunk
STAMP_VERSION = 1  # raised when equal input no longer gives equal outputs


@dataclass(frozen=True)
class PredictionFolder:
    """Writes what is predicted for an image, or finds that it is there already.

    Its methods may be called by several threads at once, for different images.

    Attributes:
        path: the folder; made by the first image.
        label_set: what the label maps mean.
        made_from: checkpoint and options, plain types: what decides the label maps beside images.
        outputs: what to write, see ``wanted_outputs``.
        overwrite: redo what is up to date, and replace files that others made.
    """

    path: Path
    label_set: LabelSet
    made_from: Mapping[str, Any]
    outputs: Mapping[str, str]
    overwrite: bool = False

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
        segmented = Segmented(image, label_map, self.label_set, probabilities)
        for name, place in places.items():
            if writer := OUTPUTS[name].writer:
                with replacing(self.path / place) as temporary, temporary.open("wb") as file:
                    resolve_name(writer)(file, segmented)
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
        palette = bytes(self.label_set.palette())
        write_mask(self.path / places["mask"], label_map, palette, {STAMP: json.dumps(stamp)})
        return entry

    def _places(self, file: PhotoFile) -> dict[str, str]:
        """Where each wanted output of a file is, below the folder."""
        return {name: place_of(name, file.output) for name in self.outputs}

    def _fingerprint(self, file: PhotoFile, status: os.stat_result) -> str:
        digest = self._digest.copy()
        digest.update(json.dumps([file.name, status.st_size, status.st_mtime_ns]).encode())
        return digest.hexdigest()[:32]

    @cached_property
    def _digest(self) -> hashlib._Hash:
        made_from = [STAMP_VERSION, dict(self.made_from), self.label_set.to_dict()]
        return hashlib.sha256(json.dumps(made_from).encode())


def left_out(file: PhotoFile, problem: str, status: str | None = None) -> Entry:
    """The entry of a file without outputs: "skipped" if it never was a picture, else "failed"."""
    status = status or ("failed" if file.is_picture else "skipped")
    return {"file": file.name, "status": status, "reason": problem}
