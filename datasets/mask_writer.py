"""One image's mask, made or kept: what each worker of generate_masks.py does.

A mask carries, in a PNG text chunk, a fingerprint of all it was made from and the account of its
making. So a run that was killed goes on where it stopped, and still reports on every image.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from datasets.annotations import ImageEntry
from datasets.drawing import Account, Rules, draw_label_map
from datasets.image_files import ImageFile, check_image_header
from datasets.masks import STAMP, write_mask


@dataclass(frozen=True)
class MaskJob:
    """One image to make a mask of.

    Attributes:
        entry: from the annotation file.
        file: where the image is and the mask belongs.
        annotations: the JSON text of each of its annotations.
    """

    entry: ImageEntry
    file: ImageFile
    annotations: Sequence[bytes]


@dataclass(frozen=True)
class MaskResult:
    """What became of a job: a mask with its account, or the reason why there is none.

    Attributes:
        entry: from the job.
        account: of the mask; None if there is none.
        written: whether the mask was written just now, not kept from before.
        reason: why there is no mask.
    """

    entry: ImageEntry
    account: Account | None = None
    written: bool = False
    reason: str = ""


@dataclass(frozen=True)
class MaskWriter:
    """Makes the mask of one job; callable, and picklable for worker processes.

    Attributes:
        output_dir: the mask folder.
        rules: what decides the pixels.
        palette: the PNG palette, or None for grayscale PNGs.
        check_images: whether an image that is missing or of another size gets no mask.
        overwrite: whether to redo masks that are up to date, and replace files of others.
    """

    output_dir: Path
    rules: Rules
    palette: bytes | None
    check_images: bool
    overwrite: bool

    def __call__(self, job: MaskJob) -> MaskResult:
        reason = self._image_problem(job)
        if reason:
            return MaskResult(job.entry, reason=reason)
        path = self.output_dir / job.file.mask
        fingerprint = self._fingerprint(job)
        if path.exists() and not self.overwrite:
            stamp = read_stamp(path)
            if stamp is None:
                return MaskResult(job.entry, reason="a file that is not ours has the mask's name")
            if stamp["fingerprint"] == fingerprint:
                return MaskResult(job.entry, Account.from_dict(stamp["account"]))
        label_map, account = draw_label_map(job.entry, job.annotations, self.rules)
        text = json.dumps({"fingerprint": fingerprint, "account": account.to_dict()})
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, label_map, self.palette, {STAMP: text})
        return MaskResult(job.entry, account, written=True)

    def _image_problem(self, job: MaskJob) -> str | None:
        if not self.check_images:
            return None
        if job.file.image is None:
            return "image file is missing"
        return check_image_header(job.file.image, job.entry)

    def _fingerprint(self, job: MaskJob) -> str:
        mode = "gray" if self.palette is None else "palette"
        return f"{mode}:{self.rules.digest(job.entry, job.annotations)}"


def read_stamp(path: Path) -> dict[str, Any] | None:
    """Fingerprint and account that a mask of ours carries; None for any other file."""
    try:
        with Image.open(path) as image:
            stamp = json.loads(image.info[STAMP])
        return stamp if isinstance(stamp, dict) else None
    except (OSError, ValueError, KeyError, TypeError, SyntaxError):
        return None
