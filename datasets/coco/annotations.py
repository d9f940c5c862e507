"""COCO annotation files: images, categories, and the annotations of each image.

Lean in memory: an annotation stays undecoded in its file until its image is painted. Of several
files, categories meet by name and images by file name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from datasets.coco.json_index import Ints, JsonIndex
from datasets.coco.records import (
    Id,
    ImageEntry,
    ascending,
    kind_without_outline,
    name_of,
    normal_id,
    read_categories,
    read_image_entry,
)

# Every key of that name; its value where that is spelled as usual.
IMAGE_ID = re.compile(rb'"image_id"\s*:\s*(?:(-?\d+|"[^"\\]*")(?=\s*[,}]))?')
SOURCE_KEY = "coco-unet file"  # in an annotation of several files: the number of its file
IN_A_LIST = "annotation is a list, nested once too often"
NOT_WANTED, NOWHERE = -1, -2  # instead of an image's number; NOWHERE: of no usable image


@dataclass(frozen=True)
class File:
    """One of the files: ``ids`` has the id of each usable image here -> among all files."""

    index: JsonIndex
    categories: dict[Id, str]
    ids: dict[Id, Id] = field(default_factory=dict)
    unusable: set[Id | None] = field(default_factory=set)


class AnnotationFiles(ExitStack):
    """Annotation files, open for reading annotations.

    Attributes:
        name: of the files, for messages.
        source: their names and digests, as masks.json has them.
        categories: category id -> name, in ascending order of id, of each file.
        category_names: of all; of several files, each once.
        images: the usable ones, in ascending order of id. An id that is another image's in a file
            before becomes "2:ID", of the second file.
        skipped_images: the others' names, and why they cannot be used.
        remarks: what else is odd about the lists of images -> how often.
        parts: the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read images and categories of all files.

        Raises:
            OSError, ValueError: one cannot be read, is none of COCO's, or contradicts itself.
        """
        super().__init__()
        self.name = ", ".join(map(str, paths))
        self.skipped_images: list[tuple[str, str]] = []
        self.remarks: Counter[str] = Counter()
        self.parts: list[File] = []
        self._images: dict[Id, ImageEntry | None] = {}  # None: files contradict each other
        self._ids_by_name: dict[str, Id] = {}
        with ExitStack() as stack:
            for path in paths:
                index = stack.enter_context(closing(JsonIndex(path)))
                twins = [part for part in self.parts if part.index.sha256 == index.sha256]
                if twins:  # every annotation would count again
                    raise ValueError(f"{path}: holds the same as {twins[0].index.path}, give one")
                file = File(index, _categories(index))
                self.parts.append(file)
                self._join(file, self._read_images(file))
                if "annotations" not in index.lists and list(index.values("annotations")):
                    raise ValueError(f"{path}: 'annotations' holds no objects")
            self.push(stack.pop_all())
        usable = [image for image in self._images.values() if image]
        self.images = tuple(sorted(usable, key=lambda image: ascending(image.id)))
        self.source = _source([file.index for file in self.parts])
        self.categories = tuple(file.categories for file in self.parts)
        names = [name for categories in self.categories for name in categories.values()]
        self.category_names = [*dict.fromkeys(names)] if len(paths) > 1 else names

    def _read_images(self, file: File) -> dict[Id, ImageEntry]:
        images: dict[Id, ImageEntry] = {}
        for number, record in enumerate(file.index.values("images")):
            try:
                image = read_image_entry(record)
            except ValueError as error:
                self.skipped_images.append((name_of(record, number), str(error)))
                file.unusable.add(normal_id(record.get("id")) if isinstance(record, dict) else None)
                continue
            if (other := images.setdefault(image.id, image)) is not image:
                if other != image:
                    raise ValueError(
                        f"{file.index.path}: two images have the id {image.id!r}: "
                        f"{other.file_name!r} and {image.file_name!r}, so their annotations cannot "
                        "be told apart; give each image an id of its own"
                    )
                self.remarks["image entry repeated"] += 1
        return images

    def _join(self, file: File, entries: Mapping[Id, ImageEntry]) -> None:
        """Add a file's images to those of the files before."""
        names = {
            id: str(PurePosixPath(entry.file_name.replace("\\", "/")))
            for id, entry in entries.items()
        }
        for own, entry in entries.items():
            id = self._ids_by_name.get(names[own])
            if id is None:  # no file before has it
                id = own if own not in self._images else f"{len(self.parts)}:{own}"
                self._images[id] = replace(entry, id=id)
            file.ids[own] = id
            first = self._images[id]
            if first and (first.height, first.width) != (entry.height, entry.width):
                self._images[id] = None
                sizes = f"{first.width} x {first.height}, but {entry.width} x {entry.height}"
                name = f"{first.file_name} ({sizes} in {file.index.path})"
                reason = "image has another size in another annotation file"
                self.skipped_images.append((name, reason))
        self._ids_by_name |= {name: file.ids[own] for own, name in names.items()}


def _categories(index: JsonIndex) -> dict[Id, str]:
    try:
        return read_categories(index.path, index.values("categories"))
    except ValueError as error:
        kind = None
        with suppress(ValueError, StopIteration, AttributeError):  # captions have no categories
            kind = kind_without_outline(next(index.values("annotations")))
        raise ValueError(
            f"{error}; its first annotation is {kind}" if kind else str(error)
        ) from error


def _source(indices: Sequence[JsonIndex]) -> dict[str, Any]:
    one, *more = [{"annotations_file": each.path.name, "sha256": each.sha256} for each in indices]
    if not more:
        return one
    together = hashlib.sha256("".join(each.sha256 for each in indices).encode()).hexdigest()
    names = ", ".join(each.path.name for each in indices)
    return {"annotations_file": names, "sha256": together, "files": [one, *more]}


class AnnotationsByImage:
    """Where the annotations of some images stand in their files.

    Attributes:
        remarks: annotations of no usable image: reason -> their number.
        found: annotations of usable images, wanted or not.
    """

    def __init__(self, files: AnnotationFiles, wanted: Sequence[ImageEntry]) -> None:
        """Find them, without decoding them."""
        self._indices, self._wanted = [file.index for file in files.parts], wanted
        self.remarks: Counter[str] = Counter()
        self.found = 0
        places = {image.id: number for number, image in enumerate(wanted)}
        spans = np.concatenate(
            [self._locate(n, file, places) for n, file in enumerate(files.parts)], 1
        )
        spans = spans[:, np.argsort(spans[0], kind="stable")]  # the files' order within an image
        self._spans: Ints = spans[1:]
        self._first = np.searchsorted(spans[0], np.arange(len(wanted) + 1))

    def of_image(self, number: int) -> list[bytes]:
        """The JSON text of each annotation of the image, in the files' order.

        Of several files, it says from which of them it is, and the image's id among all.
        """
        spans = self._spans[:, self._first[number] : self._first[number + 1]].T.tolist()
        texts = [self._indices[source].read(start, stop) for source, start, stop in spans]
        if len(self._indices) == 1:
            return texts
        id = json.dumps(self._wanted[number].id)  # of a key that stands twice, the last counts
        return [
            text[:-1] + f', "image_id": {id}, "{SOURCE_KEY}": {source}}}'.encode()
            for text, (source, _, _) in zip(texts, spans, strict=True)
        ]

    def count(self, number: int) -> int:
        """How many annotations the image has."""
        return int(self._first[number + 1] - self._first[number])

    def _locate(self, source: int, file: File, places: Mapping[Id, int]) -> Ints:
        """(4, n) of a file's n annotations of wanted images: image number, source, start, stop."""
        if "annotations" not in file.index.lists:
            return np.empty((4, 0), np.int64)
        known = {own: places.get(id, NOT_WANTED) for own, id in file.ids.items()}
        # The usual spelling of an id, found in the file's text without decoding it.
        by_text = {str(id).encode("utf-8", "surrogatepass"): n for id, n in known.items()}
        found = file.index.lists["annotations"]
        numbers = np.full(found.starts.size, NOWHERE)
        for offset, text in file.index.blocks("annotations"):
            first = int(np.searchsorted(found.starts, offset))
            last = int(np.searchsorted(found.stops, offset + len(text), "right"))
            starts, stops = found.starts[first:last] - offset, found.stops[first:last] - offset
            self._remark_on_gaps(text, starts, stops)
            for i, spelled in enumerate(_image_ids(text, starts)):
                number = by_text.get(spelled.strip(b'"')) if spelled else None
                if number is None:
                    number = self._decoded(text[starts[i] : stops[i]], known, file.unusable)
                numbers[first + i] = number
        self.found += int((numbers != NOWHERE).sum())
        if self.remarks[IN_A_LIST] and not self.found:
            raise ValueError(f"{file.index.path}: 'annotations' holds lists: {IN_A_LIST}?")
        spans = np.stack([numbers, np.full(numbers.size, source), found.starts, found.stops])
        wanted: Ints = spans[:, numbers >= 0]
        return wanted

    def _decoded(self, text: bytes, known: Mapping[Id, int], unusable: set[Id | None]) -> int:
        """The slow and certain way, for an annotation whose image id is spelled unusually."""
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            self.remarks["annotation is not valid JSON"] += 1
            return NOWHERE
        image_id = normal_id(record.get("image_id")) if isinstance(record, dict) else None
        if image_id is not None and image_id in known:
            return known[image_id]
        if isinstance(record, list):
            self.remarks[IN_A_LIST] += 1
        elif image_id is None:
            self.remarks["annotation without an image_id"] += 1
        else:
            listed = "listed, but cannot be used" if image_id in unusable else "not listed"
            self.remarks[f"annotation of an image that is {listed}"] += 1
        return NOWHERE

    def _remark_on_gaps(self, text: bytes, starts: Ints, stops: Ints) -> None:
        """Count what stands between the objects, such as null: no part of any annotation."""
        edges = zip([0, *stops.tolist()], [*starts.tolist(), len(text)], strict=True)
        gaps = Counter(text[start:stop] for start, stop in edges)
        for gap, times in gaps.items():
            if others := gap.strip(b" \t\r\n,"):
                self.remarks["annotation is not an object"] += times * (others.count(b",") + 1)


def _image_ids(text: bytes, starts: Ints) -> list[bytes | None]:
    """For each object in a piece of text, the one image id in it; None if it has not just one."""
    matches = list(IMAGE_ID.finditer(text))
    owners = np.searchsorted(starts, [match.start() for match in matches], "right") - 1
    once = np.bincount(owners[owners >= 0], minlength=starts.size) == 1
    ids: list[bytes | None] = [None] * starts.size
    for match, owner in zip(matches, owners.tolist(), strict=True):
        if owner >= 0 and once[owner]:
            ids[owner] = match[1]
    return ids
