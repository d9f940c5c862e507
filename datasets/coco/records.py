"""What annotation files list beside annotations: ids, and the entries of images and categories."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Id = int | str

MAX_PIXELS = 900_000_000  # painting takes two bytes each, and what the runs take: 2 GB


@dataclass(frozen=True)
class ImageEntry:
    """One image of an annotation file.

    Attributes:
        id: a number where the file's is one, also in quotes; else its text.
        file_name: as in the file; may hold folders.
        height: pixels.
        width: pixels.
    """

    id: Id
    file_name: str
    height: int
    width: int


def normal_id(value: Any) -> Id | None:
    """An id as a number where it is one, also in quotes or with ``.0``; else its text, or None."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        return int(text) if re.fullmatch(r"-?\d{1,100}", text) else text or None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def printable(value: Any) -> str:
    """Text that can be written: JSON may hold halves of characters, which UTF-8 cannot."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def read_image_entry(record: Any) -> ImageEntry:
    """One entry of ``images``.

    Raises:
        ValueError: it cannot be used; the text says why, and is the same for all alike.
    """
    if not isinstance(record, dict):
        raise ValueError("image entry is not an object")
    image_id = normal_id(record.get("id"))
    if image_id is None:
        raise ValueError("image entry without an id")
    file_name = record.get("file_name") or record.get("coco_url")  # LVIS has only that
    if not isinstance(file_name, str) or not file_name.strip():
        raise ValueError("image entry without a file_name; add it: the name of the image file")
    height, width = _side(record.get("height")), _side(record.get("width"))
    if height is None or width is None:
        raise ValueError(
            "image height or width is not a positive whole number; add both to the entry, in pixels"
        )
    if height * width > MAX_PIXELS:
        raise ValueError(f"image has more than {MAX_PIXELS:,} pixels; cut it into tiles")
    return ImageEntry(image_id, file_name, height, width)


def _side(value: Any) -> int | None:
    number = normal_id(value)
    return number if isinstance(number, int) and number > 0 else None


def read_categories(path: Path, records: Iterable[Any]) -> dict[Id, str]:
    """The entries of ``categories``: id -> name, in ascending order of id.

    Raises:
        ValueError: there are none, one lacks id or name, or two share an id; names the file.
    """
    categories: dict[Id, str] = {}
    for record in records:
        category_id = normal_id(record.get("id")) if isinstance(record, dict) else None
        if category_id is None or record.get("name") is None:
            raise ValueError(f"{path}: a category without id or name: {str(record)[:100]}")
        name = printable(record["name"])
        if categories.setdefault(category_id, name) != name:
            raise ValueError(
                f"{path}: two categories have the id {category_id!r}: "
                f"{categories[category_id]!r} and {name!r}; give each an id of its own"
            )
    if not categories:
        raise ValueError(f"{path}: the list 'categories' is empty, expected one entry or more")
    return dict(sorted(categories.items(), key=lambda item: ascending(item[0])))


def ascending(value: Id) -> tuple[bool, Id]:
    """Numbers first, then texts."""
    return isinstance(value, str), value


# Keys of annotations that outline nothing, and what they are.
KINDS = {
    "segments_info": "a panoptic annotation (segments_info), without segmentation",
    "caption": "a caption, without segmentation",
    "keypoints": "keypoints without segmentation",
    "bbox": "box without segmentation",
}
NO_SEGMENTATION = "no segmentation"


def kind_without_outline(record: dict[str, Any]) -> str | None:
    """What an annotation is that has no segmentation; None if it has one."""
    value = record.get("segmentation")
    empty = isinstance(value, list) and not any(each or each == 0 for each in value)
    if value not in (None, {}, "", [[[]]]) and not empty:
        return None
    if "segments_info" in record:  # of an image without segments an empty list
        return KINDS["segments_info"]
    return next((kind for key, kind in KINDS.items() if record.get(key)), NO_SEGMENTATION)


def name_of(record: Any, number: int) -> str:
    """What a person can find an unusable entry by."""
    names = [record.get("file_name"), record.get("id")] if isinstance(record, dict) else []
    known = [str(name) for name in names if isinstance(name, str | int) and name != ""]
    return known[0] if known else f"entry {number + 1} of 'images'"
