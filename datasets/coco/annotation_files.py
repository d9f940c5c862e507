"""Several annotation files as one: categories meet by name, images by file name."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from datasets.coco.annotations import SOURCE_KEY, AnnotationFile, AnnotationsByImage
from datasets.coco.records import Id, ImageEntry, SkippedImage, ascending


class AnnotationFiles:
    """Annotation files, open for reading annotations; one is what it is alone.

    Attributes:
        name: of the files, for messages.
        source: their names and digests, as masks.json has them.
        categories: category id -> name, of each file.
        category_names: of all, each once.
        images: the usable ones, in ascending order of id. An id that is another image's in a file
            before becomes "2:ID", of the second file.
        skipped_images: the others.
        repeated_image_ids: entries that say the same again in their file, and were dropped.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Open all, or none.

        Raises:
            OSError, ValueError: see ``AnnotationFile``.
        """
        self.name = ", ".join(map(str, paths))
        with ExitStack() as stack:
            self._files = [stack.enter_context(AnnotationFile(path)) for path in paths]
            self._stack = stack.pop_all()
        self.source = _source(self._files)
        self.categories = tuple(file.categories for file in self._files)
        names = [name for categories in self.categories for name in categories.values()]
        self.category_names = [*dict.fromkeys(names)] if len(self._files) > 1 else names
        self.skipped_images = [each for file in self._files for each in file.skipped_images]
        self.repeated_image_ids = sum(file.repeated_image_ids for file in self._files)
        self._entries: dict[Id, dict[int, ImageEntry]] = {}  # by number of the file
        self.images = self._join() if len(self._files) > 1 else self._files[0].images

    def __enter__(self) -> AnnotationFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def annotations_of(
        self, images: Sequence[ImageEntry]
    ) -> AnnotationsByImage | JoinedAnnotations:
        """Find the annotations of the given images, without decoding them.

        Raises:
            ValueError: an annotation cannot be read as JSON at all.
        """
        if len(self._files) == 1:
            return self._files[0].annotations_of(images)
        return JoinedAnnotations(self._files, images, self._entries)

    def _join(self) -> tuple[ImageEntry, ...]:
        ids: dict[str, Id] = {}
        images: dict[Id, ImageEntry] = {}
        for number, file in enumerate(self._files):
            for entry in file.images:
                name = str(PurePosixPath(entry.file_name.replace("\\", "/")))
                id = ids.setdefault(name, entry.id)
                if id in images and images[id].file_name != entry.file_name and id == entry.id:
                    id = ids[name] = f"{number + 1}:{entry.id}"
                first = images.setdefault(id, replace(entry, id=id))
                self._entries.setdefault(id, {})[number] = entry
                if (first.height, first.width) != (entry.height, entry.width):
                    self._skip_contradiction(first, entry, file)
        skipped = {image.id for image in self.skipped_images}
        left = [image for id, image in images.items() if id not in skipped]
        return tuple(sorted(left, key=lambda image: ascending(image.id)))

    def _skip_contradiction(
        self, first: ImageEntry, entry: ImageEntry, file: AnnotationFile
    ) -> None:
        name = (
            f"{first.file_name} ({first.width} x {first.height}, but {entry.width} x "
            f"{entry.height} in {file.path})"
        )
        reason = "image has another size in another annotation file"
        self.skipped_images.append(SkippedImage(name, reason, first.id))


class JoinedAnnotations:
    """``AnnotationsByImage`` of several files: of each image, those of the first file first."""

    def __init__(
        self,
        files: Sequence[AnnotationFile],
        images: Sequence[ImageEntry],
        entries: dict[Id, dict[int, ImageEntry]],
    ) -> None:
        self._images = images
        self._parts: list[tuple[AnnotationsByImage, dict[Id, int]]] = []
        for number, file in enumerate(files):
            ids = [image.id for image in images if number in entries[image.id]]
            found = file.annotations_of([entries[id][number] for id in ids])
            self._parts.append((found, {id: place for place, id in enumerate(ids)}))
        self.remarks: Counter[str] = Counter()
        for found, _ in self._parts:
            self.remarks += found.remarks
        self.found = sum(found.found for found, _ in self._parts)
        self.repeated_ids = sum(found.repeated_ids for found, _ in self._parts)

    def of_image(self, number: int) -> list[bytes]:
        """The JSON text of each annotation; it says of which file, and the image's id here."""
        id = self._images[number].id
        texts = []
        for source, (found, places) in enumerate(self._parts):
            more = f', "image_id": {json.dumps(id)}, "{SOURCE_KEY}": {source}}}'.encode()
            if id in places:  # of a key that stands twice, the last counts
                texts += [text[:-1] + more for text in found.of_image(places[id])]
        return texts

    def count(self, number: int) -> int:
        """How many annotations the image has."""
        id = self._images[number].id
        return sum(found.count(places[id]) for found, places in self._parts if id in places)


def _source(files: Sequence[AnnotationFile]) -> dict[str, Any]:
    one, *more = [{"annotations_file": f.path.name, "sha256": f.sha256} for f in files]
    if not more:
        return one
    together = hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()
    names = ", ".join(file.path.name for file in files)
    return {"annotations_file": names, "sha256": together, "files": [one, *more]}
