"""One image's mask, made or kept: what each worker of generate_masks.py does.

A mask carries, in a PNG text chunk, a fingerprint of all it was made from and the account of its
making. So a run that was killed goes on where it stopped, and still reports on every image.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.coco.image_files import LEADS_OUT, ImageFile, ImageProblem, read_orientation
from datasets.coco.records import Id, ImageEntry
from datasets.images import turn
from datasets.label_mapping import REPORT_NAME
from datasets.mask_files import STAMP, read_stamp, write_mask
from datasets.masks.account import Account
from datasets.masks.label_map import Rules, draw_label_map

# Errors of one path, which no other image's mask need have.
OF_ONE_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EILSEQ,
               errno.EINVAL, errno.ELOOP, errno.ENOENT)  # fmt: skip


# An image to make a mask of: its entry, where it is, and the JSON text of each annotation.
Job = tuple[ImageEntry, ImageFile, Sequence[bytes]]

# What became of it: the image's id; the account of its mask, or of why there is none; and
# "written", "replaced" (a file that is not ours, by a mask), "kept" or "skipped".
Result = tuple[Id, Account, str]


@dataclass(frozen=True)
class MaskWriter:
    """Makes the mask of one job; callable, and picklable for worker processes."""

    output_dir: Path
    rules: Rules
    palette: bytes | None  # None for grayscale PNGs
    images_dir: Path  # in which no file is ever replaced
    check_images: bool  # whether an image that is missing or of another size gets no mask
    upright: bool  # see read_orientation
    overwrite: bool  # whether to redo masks that are up to date, and replace files of others

    def __call__(self, job: Job) -> Result:
        entry = job[0]
        try:
            account, done = self._make(*job)
        except ImageProblem as problem:
            account, done = Account(), "skipped"
            detail = {"detail": problem.detail} if problem.detail else {}
            account.skipped_images.add(str(problem), image=entry.file_name, **detail)
        return entry.id, account, done

    def _make(
        self, entry: ImageEntry, file: ImageFile, annotations: Sequence[bytes]
    ) -> tuple[Account, str]:
        path = self.output_dir / file.mask
        orientation = turned = 1
        try:
            if file.problem and (self.check_images or file.problem == LEADS_OUT):
                raise ImageProblem(file.problem, file.detail)
            if file.image and self.check_images:
                orientation, turned = read_orientation(file.image, entry, self.upright)
        except ImageProblem as problem:
            if not file.mask.name or not os.path.lexists(path):
                raise
            stays = f"{problem}; what is in its mask's place stays"
            raise ImageProblem(stays, problem.detail) from problem
        fingerprint = self._options + self.rules.digest(entry, annotations)
        fingerprint += f":exif {turned}" if turned > 1 else ""
        stamp = read_stamp(path)
        folder, images = path.parent, self.images_dir  # links to folders may lead to the images
        if stamp is None and not (
            self.overwrite and not folder.resolve().is_relative_to(images.resolve())
        ):
            raise ImageProblem("a file that is not ours has the mask's name")
        if not self.overwrite and stamp and stamp.get("fingerprint") == fingerprint:
            account, done = Account.of_stamp(stamp["account"], entry.file_name), "kept"
        else:
            label_map, account = draw_label_map(entry, annotations, self.rules)
            label_map = turn(label_map, {6: 8, 8: 6}.get(turned, turned))  # upright -> stored
            new = {"fingerprint": fingerprint, "account": account.to_stamp()}
            self._write(path, label_map, new)
            done = "replaced" if stamp is None else "written"
        if orientation > 1:
            account.totals["turned_upright" if turned > 1 else "exif_ignored"] += 1
        return account, done

    def _write(self, path: Path, label_map: npt.NDArray[np.uint8], stamp: dict[str, Any]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mask(path, label_map, self.palette, {STAMP: json.dumps(stamp)})
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in OF_ONE_NAME:
                raise
            why = getattr(error, "strerror", None) or "not a name that files can have"
            raise ImageProblem(f"the mask cannot be made ({why})") from error

    @property
    def _options(self) -> str:
        """The part of a fingerprint that all masks of a run share."""
        mode = "gray" if self.palette is None else "palette"
        return f"{mode}:{self.rules.meaning}:"

    def check_other_masks(self, selected: Iterable[PurePosixPath]) -> int:
        """Refuse to leave masks of other options beside those of the selected images.

        A folder with a masks.json of its own is another mask folder; files of others do not count.
        Gives the number of other masks, of the same options.

        Raises:
            ValueError: there are such masks; names the first and the ways out.
        """
        chosen = set(selected)
        ours: dict[PurePosixPath, str] = {}
        for root, folders, files in os.walk(self.output_dir):
            below = PurePosixPath(Path(root).relative_to(self.output_dir).as_posix())
            if below.name and REPORT_NAME in files:
                folders.clear()
                continue
            for name in sorted(below / f for f in files if f.endswith(".png") and f[0] != "."):
                if name not in chosen and (stamp := read_stamp(self.output_dir / name)):
                    ours[name] = str(stamp.get("fingerprint"))
        others = [name for name, text in ours.items() if not text.startswith(self._options)]
        if others:
            raise ValueError(
                f"{self.output_dir}: {len(others):,} masks of images that are not selected now "
                f"were made with other options, such as '{others[0]}'; beside the new masks they "
                "would mean something else; choose a new folder, delete them, or select their "
                "images too"
            )
        return len(ours)
