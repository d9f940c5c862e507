"""The way of many photos through reading, the network and writing, all at the same time."""

from __future__ import annotations

import errno
import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm.contrib.logging import logging_redirect_tqdm

from datasets.predictions.folder import Found, PredictionFolder
from datasets.predictions.outputs import OUTPUTS, Entry, Segmented
from datasets.predictions.photo_files import PhotoFile
from datasets.predictions.photos import MOST_PIXELS_AHEAD, Photo, read_photo
from runtime.bar import Bar
from runtime.workers import available_cores, in_order, ordered_map

logger = logging.getLogger(__name__)

# A photo with its label map (H, W) uint8, and probabilities (C, H, W) if they are wanted.
Predicted = tuple[Photo, npt.NDArray[np.uint8], npt.NDArray[Any] | None]
Predict = Callable[[Iterable[Photo]], Generator[Predicted, None, None]]

AHEAD = 2  # photos that a worker may be ahead: each is up to 100 MB
MOST_PIXELS_WRITTEN = 100_000_000  # of the images being encoded at a time, or one image
STOPPING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # errors that all further files would meet


class PhotoPipeline:
    """What becomes of each of a list of files, which worker processes read.

    Attributes:
        num_kept: files whose outputs were up to date.
        replaces: whether masks that are there will be replaced by others.
    """

    def __init__(self, folder: PredictionFolder, *, exif: bool, workers: int) -> None:
        self.num_kept = 0
        self.replaces = False
        self._removed: Counter[str] = Counter()  # outputs of masks that were replaced
        self._folder = folder
        self._read = partial(read_photo, exif=exif)
        self._workers = workers
        self._entries: dict[str, Entry] = {}  # by name of file
        self._found: dict[str, Found] = {}

    def told_entries(self, files: Iterable[PhotoFile]) -> list[Entry]:
        """The entry of each file, for the report; also tells how many are what."""
        entries = [self._entries[file.name] for file in files]
        counts = Counter(entry["status"] for entry in entries)
        logger.info(
            "%d masks written, %d kept as up to date; %d files skipped, %d failed",
            *(counts["written"] - self.num_kept, self.num_kept),
            *(counts["skipped"], counts["failed"]),
        )
        for remark, number in Counter(e["remark"] for e in entries if "remark" in e).items():
            logger.warning("%d of the photos: %s", number, remark)
        for name, number in self._removed.items():
            logger.info("removed, being of other masks: %d of %s", number, OUTPUTS[name].folder)
        return entries

    def keep(self, files: Sequence[PhotoFile]) -> list[PhotoFile]:
        """Take over what is up to date; gives the files that are still to do."""
        for file in files:
            try:
                found = self._folder.find(file)
            except ValueError as error:
                self._leave_out(file, str(error), "failed")
                continue
            self.replaces |= found.is_stale
            if found.entry is None or self._folder.overwrite or self._folder.lacks(found):
                self._found[file.name] = found
            else:
                self._entries[file.name] = found.entry
                self.num_kept += 1
        return [file for file in files if file.name in self._found]

    def segment(self, files: Sequence[PhotoFile], predict: Predict) -> None:
        """Segment files: workers read ahead, ``predict`` computes, threads encode and write.

        Args:
            files: what to do.
            predict: takes photos as it needs them, and gives them back in order.

        Raises:
            OSError: the disk is full or read-only.
            MemoryError: there is not enough of it.
            RuntimeError: a worker died.
        """
        threads = max(2, available_cores())
        read = partial(self._read, most_pixels=MOST_PIXELS_AHEAD)
        photos = ordered_map(read, files, self._workers, chunk=1, ahead=AHEAD)
        with (
            logging_redirect_tqdm(),
            Bar("predicting", len(files), " images") as bar,
            ThreadPoolExecutor(threads) as pool,
            closing(photos),
            closing(predict(self._readable(photos, bar))) as predictions,
        ):
            written = in_order(
                lambda predicted: pool.submit(self._write, *predicted),
                predictions,
                most=2 * threads,
                weight=lambda predicted: predicted[1].size,
                most_weight=MOST_PIXELS_WRITTEN,
            )
            with closing(written):
                for (photo, _, _), entry in written:
                    self._entries[photo.file.name] = entry
                    bar.advance(1)

    def _readable(self, photos: Iterable[Photo], bar: Bar) -> Iterator[Photo]:
        for photo in photos:
            if photo.image is None and not photo.problem:
                photo = self._read(photo.file)  # too large to be read ahead
            if photo.problem:
                self._leave_out(photo.file, photo.problem)
                bar.advance(1)
            else:
                yield photo

    def _write(
        self, photo: Photo, label_map: npt.NDArray[np.uint8], probabilities: npt.NDArray[Any] | None
    ) -> Entry:
        try:
            assert photo.image is not None
            segmented = Segmented(photo.image, label_map, self._folder.label_set, probabilities)
            found = self._found[photo.file.name]
            entry, removed = self._folder.write(photo, segmented, found)
            self._removed.update(removed)
            return entry
        except Exception as error:  # whatever one photo does to the drawing, others go on
            if isinstance(error, MemoryError) or getattr(error, "errno", None) in STOPPING:
                raise
            what = "written" if isinstance(error, OSError) else f"drawn: {type(error).__name__}"
            return self._leave_out(photo.file, f"cannot be {what}: {error}", "failed")

    def _leave_out(self, file: PhotoFile, problem: str, status: str = "") -> Entry:
        """A file that never was a picture is skipped, any other has failed."""
        status = status or ("failed" if file.is_picture else "skipped")
        entry = {"file": file.name, "status": status, "reason": problem}
        self._entries[file.name] = entry
        logger.warning("%s %s: %s", entry["status"], file.name, problem)
        return entry
