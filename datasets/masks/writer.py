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

import numpy as np
import numpy.typing as npt

from datasets.coco.image_files import LEADS_OUT, SWAPS_SIDES, Header, ImageFile, read_header
from datasets.coco.records import ImageEntry
from datasets.label_mapping import REPORT_NAME
from datasets.mask_files import STAMP, read_stamp, write_mask
from datasets.masks.account import Account
from datasets.masks.label_map import Rules, draw_label_map, is_outdated

# Errors of one path, which no other image's mask need have.
OF_ONE_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EILSEQ,
               errno.EINVAL, errno.ELOOP, errno.ENOENT)  # fmt: skip


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
        detail: what a person should know of the reason, for this image alone.
    """

    entry: ImageEntry
    account: Account | None = None
    written: bool = False
    replaced: bool = False
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class MaskWriter:
    """Makes the mask of one job; callable, and picklable for worker processes.

    Attributes:
        output_dir: the mask folder.
        rules: what decides the pixels.
        palette: the PNG palette, or None for grayscale PNGs.
        images_dir: the folder of the images, in which no file is ever replaced.
        check_images: whether an image that is missing or of another size gets no mask.
        upright: whether annotations are those of the upright picture also where the size of the
            stored pixels fits them.
        overwrite: whether to redo masks that are up to date, and replace files of others.
    """

    output_dir: Path
    rules: Rules
    palette: bytes | None
    images_dir: Path
    check_images: bool
    upright: bool
    overwrite: bool

    def __call__(self, job: MaskJob) -> MaskResult:
        path = self.output_dir / job.file.mask
        header = self._header(job)
        if header.problem:
            stays = "; what is in its mask's place stays" if _is_there(path, job) else ""
            return MaskResult(job.entry, reason=header.problem + stays, detail=header.detail)
        turn = header.orientation if header.is_upright or self.upright else 1
        fingerprint = self._fingerprint(job, turn)
        stamp = read_stamp(path)
        if stamp is None and (not self.overwrite or self._is_input(path)):
            return MaskResult(job.entry, reason="a file that is not ours has the mask's name")
        if not self.overwrite and stamp and stamp.get("fingerprint") == fingerprint:
            account = Account.of_stamp(stamp["account"], job.entry.file_name)
            if not is_outdated(stamp["account"]):
                return MaskResult(job.entry, _with_exif(account, header, turn))
        label_map, account = draw_label_map(job.entry, job.annotations, self.rules)
        if turn > 1:
            label_map = stored_view(label_map, turn)
        text = json.dumps({"fingerprint": fingerprint, "account": account.to_stamp()})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mask(path, label_map, self.palette, {STAMP: text})
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in OF_ONE_NAME:
                raise
            why = getattr(error, "strerror", None) or "not a name that files can have"
            return MaskResult(job.entry, reason=f"the mask cannot be made ({why})")
        account = _with_exif(account, header, turn)
        return MaskResult(job.entry, account, written=True, replaced=stamp is None)

    def _header(self, job: MaskJob) -> Header:
        file = job.file
        if file.image and self.check_images:
            return read_header(file.image, job.entry)
        if file.problem and (self.check_images or file.problem == LEADS_OUT):
            return Header(file.problem, file.detail)
        return Header()

    def _is_input(self, path: Path) -> bool:
        """Whether a path leads, by links to folders, to a file in the folder of the images."""
        return path.parent.resolve().is_relative_to(self.images_dir.resolve())

    def _fingerprint(self, job: MaskJob, turn: int) -> str:
        turned = f":exif {turn}" if turn > 1 else ""
        return self._options + self.rules.digest(job.entry, job.annotations) + turned

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


def _with_exif(account: Account, header: Header, turn: int) -> Account:
    """The account with what the image's EXIF orientation came to."""
    if header.orientation > 1:
        account.totals["turned_upright" if turn > 1 else "exif_ignored"] += 1
    return account


def stored_view(upright: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """The label map of the stored pixels: what EXIF's orientation turns into ``upright``.

    Args:
        upright: (H, W) uint8.
        orientation: 2 to 8.
    """
    view = upright.T if orientation in SWAPS_SIDES else upright
    rows = -1 if orientation in (3, 4, 6, 7) else 1
    columns = -1 if orientation in (2, 3, 7, 8) else 1
    return np.ascontiguousarray(view[::rows, ::columns])


def _is_there(path: Path, job: MaskJob) -> bool:
    """Whether something is in the mask's place; a name that no mask can have has none."""
    try:
        return bool(job.file.mask.name) and os.path.lexists(path)
    except ValueError:
        return False


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
