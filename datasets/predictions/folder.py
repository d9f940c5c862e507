"""The folder that predictions go to, see ``outputs``.

A mask is written after everything else of its image, and carries in a PNG text chunk a fingerprint
of all it was made from, and its entry. So a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from datasets.labels import LabelSet
from datasets.mask_files import read_stamp, write_mask
from datasets.predictions.outputs import OUTPUTS, Entry, Segmented
from datasets.predictions.photo_files import PhotoFile
from datasets.predictions.photos import Photo
from runtime.files import replacing

STAMP = "coco-unet prediction"  # keyword of the text chunk
STAMP_VERSION = 1  # raised when equal input no longer gives equal outputs

Kinds = tuple[tuple[str, str | None], ...]  # of the outputs that have some; None: is not there


@dataclass(frozen=True)
class Found:
    """What is there of a photo.

    Attributes:
        entry: of a mask that is up to date; None without one.
        outputs: what is there of this mask, itself too: key of OUTPUTS -> kind.
        is_stale: whether there is a mask of ours, but of another photo, network or quality.
    """

    entry: Entry | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    is_stale: bool = False


@dataclass(frozen=True)
class PredictionFolder:
    """Writes what is predicted for an image, or finds that it is there already.

    Several threads at once may write, of different images.

    Attributes:
        path: the folder; made by the first image.
        label_set: what the label maps mean.
        made_from: checkpoint and options, plain types: what decides the label maps beside images.
        outputs: what to write, see ``wanted_outputs``.
        overwrite: replace files that others made.
    """

    path: Path
    label_set: LabelSet
    made_from: Mapping[str, Any]
    outputs: Mapping[str, str]
    overwrite: bool = False

    def find(self, file: PhotoFile) -> Found:
        """What is there of a file. A mask without its end, or without any content, is not there.

        Raises:
            ValueError: a file of another program has the name of the mask.
        """
        mask = self.path / _place(file, "mask")
        stamp = read_stamp(mask, STAMP)
        if stamp is None or (stamp and not {"fingerprint", "outputs", "entry"} <= stamp.keys()):
            if self.overwrite:
                return Found()
            raise ValueError(
                f"{mask} is not a mask of this command, and is kept; move it away or use "
                "--overwrite"
            )
        if not stamp or not os.path.exists(file.path):  # noqa: PTH110 (no error at odd names)
            return Found()
        made = (name for name in OUTPUTS if name in stamp["outputs"])
        names = [name for name in made if (self.path / _place(file, name)).is_file()]
        for kinds in self._digests:
            if stamp["fingerprint"] == self._fingerprint(file, file.path.stat(), kinds):
                return Found(stamp["entry"], {name: dict(kinds).get(name) or "" for name in names})
        return Found(is_stale=True)

    def count_others(self, files: Iterable[PhotoFile]) -> int:
        """How many masks are there of other files than these."""
        names = {_place(file, "mask") for file in files}
        there = (self.path / OUTPUTS["mask"].folder).rglob("[!.]*.png")
        return sum(path.relative_to(self.path).as_posix() not in names for path in there)

    def lacks(self, found: Found) -> bool:
        """Whether a wanted output is not there, or is of another kind."""
        return any(found.outputs.get(name) != kind for name, kind in self.outputs.items())

    def write(self, photo: Photo, segmented: Segmented, found: Found) -> tuple[Entry, list[str]]:
        """Write the outputs of an image; gives its entry, and which were of another mask.

        Those are removed, since they would not be of the mask beside them.

        Args:
            photo: what was read, without a problem.
            segmented: the same, with what was predicted.
            found: what is there of it.

        Raises:
            OSError: a file cannot be written; there is then no mask, or the one from before.
        """
        file, label_map, names = photo.file, segmented.label_map, self.label_set.names
        assert photo.status is not None
        kinds = {**found.outputs, **self.outputs}
        outputs = {name: kinds[name] for name in OUTPUTS if name in kinds}
        removed = [name for name in OUTPUTS if name not in outputs and self._remove(file, name)]
        if found.is_stale:
            self._remove(file, "mask")  # or, if this were stopped now, it would have these outputs
        for name in self.outputs:
            path, writer = self.path / _place(file, name), OUTPUTS[name].writer
            path.parent.mkdir(parents=True, exist_ok=True)
            if writer:
                with replacing(path) as temporary, temporary.open("wb") as opened:
                    writer(opened, segmented)
        shares = np.bincount(label_map.ravel(), minlength=len(names)) / label_map.size
        entry = {
            "file": file.name,
            "status": "written",
            **{name: _place(file, name) for name in outputs},
            "height": label_map.shape[0],
            "width": label_map.shape[1],
            **({"exif_orientation": photo.orientation} if photo.orientation != 1 else {}),
            **({"remark": "; ".join(photo.remarks)} if photo.remarks else {}),
            "label_shares": dict(zip(names, shares.round(6).tolist(), strict=True)),
        }
        of_kind = tuple((name, outputs.get(name)) for name, row in OUTPUTS.items() if row.kinds)
        fingerprint = self._fingerprint(file, photo.status, of_kind)
        stamp = {"fingerprint": fingerprint, "outputs": list(outputs), "entry": entry}
        palette = bytes(self.label_set.palette())
        write_mask(self.path / _place(file, "mask"), label_map, palette, {STAMP: json.dumps(stamp)})
        return entry, removed

    def _remove(self, file: PhotoFile, output: str) -> bool:
        path = self.path / _place(file, output)
        if is_there := path.is_file():
            path.unlink()
        return is_there

    @cached_property
    def _digests(self) -> dict[Kinds, hashlib._Hash]:
        """Of all that a mask is made from beside its photo, and the kinds of what is beside it."""
        rows = {name: row.kinds for name, row in OUTPUTS.items() if row.kinds}
        digests: dict[Kinds, hashlib._Hash] = {}
        for kinds in product(*([(name, kind) for kind in (None, *rows[name])] for name in rows)):
            made_from = {**self.made_from, **dict(kinds)}
            text = json.dumps([STAMP_VERSION, made_from, self.label_set.to_dict()])
            digests[kinds] = hashlib.sha256(text.encode())
        return digests

    def _fingerprint(self, file: PhotoFile, status: os.stat_result, kinds: Kinds) -> str:
        digest = self._digests[kinds].copy()
        digest.update(json.dumps([file.name, status.st_size, status.st_mtime_ns]).encode())
        return digest.hexdigest()[:32]


def _place(file: PhotoFile, output: str) -> str:
    row = OUTPUTS[output]
    return f"{row.folder}/{file.output}{row.suffix}"
