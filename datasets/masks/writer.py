"""One image's mask, made or kept: what each worker of generate_masks.py does.

A mask carries, in a PNG text chunk, a fingerprint of all it was made from and the account of its
making. So a run that was killed goes on where it stopped, and still reports on every image.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datasets.coco.image_files import ImageFile, check_image_header
from datasets.coco.records import ImageEntry
from datasets.label_mapping import REPORT_NAME
from datasets.mask_files import STAMP, read_stamp, write_mask
from datasets.masks.account import Account
from datasets.masks.label_map import Rules, draw_label_map, is_outdated


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
        replaced: whether it took the place of a file that is not ours.
        reason: why there is no mask.
    """

    entry: ImageEntry
    account: Account | None = None
    written: bool = False
    replaced: bool = False
    reason: str = ""


@dataclass(frozen=True)
class MaskWriter:
    """Makes the mask of one job; callable, and picklable for worker processes.

    Attributes:
        output_dir: the mask folder.
        rules: what decides the pixels.
        palette: the PNG palette, or None for grayscale PNGs.
        images_dir: the folder of the images, in which no file is ever replaced.
        check_images: whether an image that is missing or of another size gets no mask.
        overwrite: whether to redo masks that are up to date, and replace files of others.
    """

    output_dir: Path
    rules: Rules
    palette: bytes | None
    images_dir: Path
    check_images: bool
    overwrite: bool

    def __call__(self, job: MaskJob) -> MaskResult:
        path = self.output_dir / job.file.mask
        reason = self._image_problem(job)
        if reason:
            stays = "; what is in its mask's place stays" if path.exists() else ""
            return MaskResult(job.entry, reason=reason + stays)
        fingerprint = self._fingerprint(job)
        stamp = read_stamp(path)
        if stamp is None and (not self.overwrite or self._is_input(path)):
            return MaskResult(job.entry, reason="a file that is not ours has the mask's name")
        same = stamp and stamp.get("fingerprint") == fingerprint
        if stamp and same and not self.overwrite and not is_outdated(stamp["account"]):
            account = Account.of_stamp(stamp["account"], job.entry.file_name)
            return MaskResult(job.entry, account)
        label_map, account = draw_label_map(job.entry, job.annotations, self.rules)
        text = json.dumps({"fingerprint": fingerprint, "account": account.to_stamp()})
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, label_map, self.palette, {STAMP: text})
        return MaskResult(job.entry, account, written=True, replaced=stamp is None)

    def _is_input(self, path: Path) -> bool:
        """Whether a path leads, by links to folders, to a file in the folder of the images."""
        return path.parent.resolve().is_relative_to(self.images_dir.resolve())

    def _image_problem(self, job: MaskJob) -> str | None:
        if not self.check_images:
            return None
        if job.file.image is None:
            return "image file is missing"
        return check_image_header(job.file.image, job.entry)

    def _fingerprint(self, job: MaskJob) -> str:
        return self._options + self.rules.digest(job.entry, job.annotations)

    @property
    def _options(self) -> str:
        """The part of a fingerprint that all masks of a run share."""
        mode = "gray" if self.palette is None else "palette"
        return f"{mode}:{self.rules.meaning}:"

    def check_other_masks(self, selected: Iterable[PurePosixPath]) -> int:
        """Refuse to leave masks of other options beside those of the selected images.

        A folder with a masks.json of its own is another mask folder; files of others do not count.

        Args:
            selected: the masks of this run, below the mask folder.

        Returns:
            How many other masks of ours, of the same options, are in the folder.

        Raises:
            ValueError: there are such masks; names the first and the ways out.
        """
        names = _png_names(self.output_dir) - set(map(str, selected))
        ours: dict[str, str] = {}
        for name in sorted(names):
            if stamp := read_stamp(self.output_dir / name):
                ours[name] = str(stamp.get("fingerprint"))
        others = [name for name, text in ours.items() if not text.startswith(self._options)]
        if others:
            raise ValueError(
                f"{self.output_dir}: {len(others):,} masks of images that are not selected now "
                f"were made with other options, such as {others[0]!r}; beside the new masks they "
                "would mean something else; choose a new folder, delete them, or select their "
                "images too"
            )
        return len(ours)


def _png_names(folder: Path) -> set[str]:
    """The PNG files of a mask folder, as paths below it; hidden ones are no data."""
    names = set()
    for root, folders, files in os.walk(folder):
        if Path(root) != folder and REPORT_NAME in files:
            folders.clear()
            continue
        below = Path(root).relative_to(folder)
        names |= {(below / f).as_posix() for f in files if f.endswith(".png") and f[0] != "."}
    return names
