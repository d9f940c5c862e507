"""COCO annotation files: images, categories, and the annotations of each image.

Lean in memory: an annotation stays undecoded in the file until its image is painted.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datasets.coco.json_index import JsonIndex
from datasets.coco.records import (
    Id,
    ImageEntry,
    SkippedImage,
    ascending,
    name_of,
    normal_id,
    read_categories,
    read_image_entry,
)

# Every key of that name; its value where that is spelled as usual.
IMAGE_ID = re.compile(rb'"image_id"\s*:\s*(?:(-?\d+|"[^"\\]*")(?=\s*[,}]))?')
SOURCE_KEY = "coco-unet file"  # in an annotation of several files: the number of its file
IN_A_LIST = "annotation is a list, expected an object"
NOWHERE = -2  # instead of an image's number: the annotation belongs to no usable image
ANNOTATION_ID = re.compile(rb'"id"\s*:\s*(?:(-?\d{1,18})(?=\s*[,}]))?')


class AnnotationFile:
    """A COCO annotation file, open for reading annotations.

    Attributes:
        path: as given.
        sha256: of the file, hexadecimal.
        categories: category id -> name, in ascending order of id.
        images: the usable ones, in ascending order of id.
        skipped_images: the others.
        repeated_image_ids: entries that say the same again, and were dropped.
    """

    def __init__(self, path: Path) -> None:
        """Read images and categories, and find the annotations.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not a COCO annotation file, or contradicts itself.
        """
        self._index = JsonIndex(path)
        self.path, self.sha256 = path, self._index.sha256
        try:
            self.categories = read_categories(path, self._index.values("categories"))
            self.skipped_images: list[SkippedImage] = []
            self.repeated_image_ids = 0
            self.images = self._read_images()
            if "annotations" not in self._index.lists and list(self._index.values("annotations")):
                raise ValueError(f"{path}: 'annotations' holds no objects")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._index.close()

    def __enter__(self) -> AnnotationFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_images(self) -> tuple[ImageEntry, ...]:
        images: dict[Id, ImageEntry] = {}
        for number, record in enumerate(self._index.values("images")):
            try:
                image = read_image_entry(record)
            except ValueError as error:
                id = normal_id(record.get("id")) if isinstance(record, dict) else None
                self.skipped_images.append(SkippedImage(name_of(record, number), str(error), id))
                continue
            if image.id in images:
                if images[image.id] != image:
                    raise ValueError(
                        f"{self.path}: two images have the id {image.id!r}: "
                        f"{images[image.id].file_name!r} and {image.file_name!r}, so their "
                        "annotations cannot be told apart; give each image an id of its own"
                    )
                self.repeated_image_ids += 1
            images[image.id] = image
        return tuple(sorted(images.values(), key=lambda image: ascending(image.id)))

    def annotations_of(self, images: Sequence[ImageEntry]) -> AnnotationsByImage:
        """Find the annotations of the given images, without decoding them.

        Raises:
            ValueError: an annotation cannot be read as JSON at all.
        """
        skipped = {image.id for image in self.skipped_images}
        return AnnotationsByImage(self._index, self.images, skipped, images)


class AnnotationsByImage:
    """Where the annotations of some images stand in their file.

    Attributes:
        remarks: annotations of no usable image: reason -> their number.
        repeated_ids: annotations, of all images, with the id of one before them.
        found: annotations of usable images, wanted or not.
    """

    def __init__(
        self,
        index: JsonIndex,
        known: Iterable[ImageEntry],
        skipped: Set[Id | None],
        wanted: Sequence[ImageEntry],
    ) -> None:
        self._index, self._skipped = index, skipped
        self.remarks: Counter[str] = Counter()
        self.repeated_ids = self.found = 0
        self._number: dict[Id, int] = {image.id: -1 for image in known}
        self._number |= {image.id: number for number, image in enumerate(wanted)}
        # The usual spelling of an id, found in the file's text without decoding it.
        self._by_text = {
            str(id).encode("utf-8", "surrogatepass"): number for id, number in self._number.items()
        }
        starts, stops, numbers = self._locate()
        if self.remarks[IN_A_LIST] and not self.found:
            raise ValueError(
                f"{index.path}: 'annotations' holds lists, expected objects; is it nested once too "
                "often?"
            )
        order = np.argsort(numbers, kind="stable")  # the file's order within an image
        self._starts, self._stops = starts[order], stops[order]
        self._first = np.searchsorted(numbers[order], np.arange(len(wanted) + 1))

    def of_image(self, number: int) -> list[bytes]:
        """The JSON text of each annotation of the image, in the file's order.

        Args:
            number: position of the image among the wanted ones.
        """
        span = slice(self._first[number], self._first[number + 1])
        return [
            self._index.read(start, stop)
            for start, stop in zip(
                self._starts[span].tolist(), self._stops[span].tolist(), strict=True
            )
        ]

    def count(self, number: int) -> int:
        """How many annotations the image has."""
        return int(self._first[number + 1] - self._first[number])

    def _locate(self) -> tuple[npt.NDArray[np.int64], ...]:
        """Start, stop and image number of every annotation of a wanted image."""
        empty = np.empty(0, np.int64)
        if "annotations" not in self._index.lists:
            return empty, empty, empty
        found = self._index.lists["annotations"]
        numbers = np.full(found.starts.size, NOWHERE)
        ids = _AnnotationIds()
        for offset, text in self._index.blocks("annotations"):
            first = int(np.searchsorted(found.starts, offset))
            last = int(np.searchsorted(found.stops, offset + len(text), "right"))
            starts = found.starts[first:last] - offset
            stops = found.stops[first:last] - offset
            self._check_gaps(text, starts, stops)
            numbers[first:last] = self._image_numbers(text, starts, stops)
            ids.add(text, starts, stops)
        self.repeated_ids = ids.repeated()
        self.found = int((numbers > NOWHERE).sum())
        wanted = numbers >= 0
        return found.starts[wanted], found.stops[wanted], numbers[wanted]

    def _image_numbers(
        self, text: bytes, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
    ) -> list[int]:
        """The image number of each annotation in a piece of text; -1 if not wanted, or NOWHERE."""
        texts = _texts_of(IMAGE_ID, text, starts)
        numbers = [None if t is None else self._by_text.get(t.strip(b'"')) for t in texts]
        return [
            self._decoded_image_number(text[starts[i] : stops[i]]) if number is None else number
            for i, number in enumerate(numbers)
        ]

    def _decoded_image_number(self, text: bytes) -> int:
        """The slow and certain way, for an annotation whose image id is spelled unusually."""
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            self.remarks["annotation is not valid JSON"] += 1
            return NOWHERE
        if isinstance(record, list):
            self.remarks[IN_A_LIST] += 1
            return NOWHERE
        image_id = normal_id(record.get("image_id")) if isinstance(record, dict) else None
        if image_id is None:
            self.remarks["annotation without an image_id"] += 1
            return NOWHERE
        if image_id in self._number:
            return self._number[image_id]
        listed = "listed, but cannot be used" if image_id in self._skipped else "not listed"
        self.remarks[f"annotation of an image that is {listed}"] += 1
        return NOWHERE

    def _check_gaps(
        self, text: bytes, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
    ) -> None:
        """Count what stands between the objects, such as null: no part of any annotation."""
        edges = zip([0, *stops.tolist()], [*starts.tolist(), len(text)], strict=True)
        gaps = Counter(text[start:stop] for start, stop in edges)
        for gap, times in gaps.items():
            if others := gap.strip(b" \t\r\n,"):
                count = times * (others.count(b",") + 1)
                self.remarks["annotation is not an object"] += count


class _AnnotationIds:
    """The ids of all annotations, to see which are repeated; 8 bytes each, if they are numbers."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self._others: list[Id] = []

    def add(self, text: bytes, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> None:
        """Add those of the annotations in a piece of text."""
        for i, id_text in enumerate(_texts_of(ANNOTATION_ID, text, starts)):
            found = _decoded_id(text[starts[i] : stops[i]]) if id_text is None else int(id_text)
            if isinstance(found, int) and abs(found) < 2**63:
                self._numbers.append(found)
            elif found is not None:
                self._others.append(found)

    def repeated(self) -> int:
        """How many annotations have the id of one before them."""
        different = np.unique(np.frombuffer(self._numbers, np.int64)).size + len({*self._others})
        return len(self._numbers) + len(self._others) - different


def _texts_of(
    key: re.Pattern[bytes], text: bytes, starts: npt.NDArray[np.int64]
) -> list[bytes | None]:
    """For each object in a piece of text, what the one match in it captured; None if not one."""
    matches = list(key.finditer(text))
    owner = np.searchsorted(starts, [match.start() for match in matches], "right") - 1
    if np.array_equal(owner, np.arange(starts.size)):  # one in each: the usual file
        return [match[1] for match in matches]
    once = np.bincount(owner[owner >= 0], minlength=starts.size) == 1
    texts: list[bytes | None] = [None] * starts.size
    for match, number in zip(matches, owner.tolist(), strict=True):
        if number >= 0 and once[number]:
            texts[number] = match[1]
    return texts


def _decoded_id(text: bytes) -> Id | None:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None  # told when its image id is looked for
    return normal_id(record.get("id")) if isinstance(record, dict) else None
