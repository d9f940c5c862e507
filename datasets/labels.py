"""Label, LabelSet, IGNORE_INDEX: what a pixel value means, and which label wins an overlap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from datasets.mask_files import Color, Value, number_of, value_of

IGNORE_INDEX = 255  # pixels that no loss and no score counts
MAX_LABELS = 255  # indices 0..254: an 8-bit mask, less IGNORE_INDEX


@dataclass(frozen=True)
class Label:
    """One class of pixels.

    Raises:
        ValueError: a colour, value or priority is out of range.
    """

    name: str  # unique within its label set
    color: Color  # RGB, 0..255 each, used in mask palettes and overlays
    # The higher keeps a pixel that two objects claim; None where labels are not ranked.
    priority: float | None = None
    categories: tuple[str, ...] = ()  # names of the COCO categories that it stands for
    values: tuple[Value, ...] = ()  # of its pixels in masks that others made, instead

    def __post_init__(self) -> None:
        for value in (self.color, *self.values):
            channels = value if isinstance(value, tuple) else (value,)
            if not all(0 <= channel <= 255 for channel in channels):
                raise ValueError(
                    f"label {self.name!r} has the color or value {value}, expected 0 to 255"
                )
        if self.priority is not None and not math.isfinite(self.priority):
            raise ValueError(f"label {self.name!r} has priority {self.priority}, not finite")


BACKGROUND = Label("background", (0, 0, 0))
IGNORED = Label("ignore", (224, 224, 224))


@dataclass(frozen=True)
class LabelSet:
    """Every label by index: index 0 is the background if there is one, the rest are in order.

    Raises:
        ValueError: no labels or too many, a duplicate name, a category or pixel value in two
            labels, or priorities or values on some labels only.
    """

    name: str  # for people
    labels: tuple[Label, ...]
    # Categories and values of pixels that do not count. Without values, those of 255 do not, unless
    # that is a label's or masks are told by their colours.
    ignore: Label = IGNORED

    def __post_init__(self) -> None:
        if not 1 <= len(self.labels) <= MAX_LABELS:
            raise ValueError(
                f"label set {self.name!r} has {len(self.labels)} labels, expected 1 to "
                f"{MAX_LABELS} with the background; put several categories into one label"
            )
        if self.labels[0].categories:
            raise ValueError(
                f"the first label of label set {self.name!r}, {self.labels[0].name!r}, is the "
                "background and takes no categories; those left out of every label become it"
            )
        names = [label.name for label in self.labels]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"label set {self.name!r} has two labels named {twice[0]!r}")
        self._check_once("category", lambda label: label.categories)
        self._check_once("value", lambda label: [value_of(number_of(v)) for v in label.values])
        has_values = any(label.values for label in (*self.labels, self.ignore))
        for what, labels, given in (
            ("priority", self.labels[1:], self.has_priorities),
            ("values", self.labels, has_values),
        ):
            without = [label.name for label in labels if getattr(label, what) in (None, ())]
            if given and without:
                raise ValueError(
                    f"label set {self.name!r} gives no {what} to {', '.join(without)}, but to "
                    "others; give each label its own, or none"
                )

    def _check_once(self, what: str, keys_of: Callable[[Label], Iterable[Any]]) -> None:
        owner: dict[Any, str] = {}
        for label in (*self.labels, self.ignore):
            for key in keys_of(label):
                if key in owner:
                    hint = "; write a colour as [[red, green, blue]]" if what == "value" else ""
                    raise ValueError(
                        f"{what} {key!r} is in label {owner[key]!r} and in label {label.name!r} of "
                        f"label set {self.name!r}, expected in one{hint}"
                    )
                owner[key] = label.name

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    @property
    def describes_masks(self) -> bool:
        """Whether it says which values pixels have in masks that others made."""
        return bool(self.labels[0].values)

    @property
    def has_background(self) -> bool:
        """Whether label 0 is the background; of masks that others made, if it is called so."""
        return not self.describes_masks or is_background(self.labels[0].name)

    @property
    def has_priorities(self) -> bool:
        return any(label.priority is not None for label in self.labels[1:])

    @property
    def index_by_category(self) -> dict[str, int]:
        """Category name -> label index, of every category that a label names or "ignore" does."""
        rows = [*enumerate(self.labels), (IGNORE_INDEX, self.ignore)]
        return {category: index for index, label in rows for category in label.categories}

    def palette(self) -> list[int]:
        """The 768 numbers of a PNG palette: R, G, B of pixel values 0 to 255."""
        colors = [label.color for label in self.labels]
        colors += [voc_color(index) for index in range(len(colors), 255)]
        return [channel for color in (*colors, IGNORED.color) for channel in color]

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, as masks.json and checkpoints hold it; ``from_dict`` reads it."""
        labels = [
            {
                "name": label.name,
                "color": list(label.color),
                "priority": label.priority,
                "categories": list(label.categories),
                **({"values": _plain(label.values)} if label.values else {}),
            }
            for label in self.labels
        ]
        ignore = [*_plain(self.ignore.values), *self.ignore.categories]
        show = self.describes_masks or ignore
        return {"name": self.name, "labels": labels, **({"ignore": ignore} if show else {})}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> LabelSet:
        """The inverse of ``to_dict``; a label without a color gets that of the VOC colour map.

        Of a label whose values are colours, the first is its color.

        Raises:
            ValueError: a key is missing or of another type, or the labels contradict each other.
        """
        entries = value.get("labels") if isinstance(value, dict) else None
        parts = [value, *(entries if isinstance(entries, list) else [None])]
        if not all(isinstance(part, dict) and "name" in part for part in parts):
            other = isinstance(value, dict) and "annotations" in value
            raise ValueError(
                f"not a label set{', but an annotation file' * other}; expected "
                '{"name": ..., "labels": [{"name": "background"}, {"name": ..., "categories": '
                "[...]}, ...]}, such as --write_label_set writes"
            )
        labels = tuple(_label(index, entry) for index, entry in enumerate(parts[1:]))
        ignore = _listed(value.get("ignore", []))
        names = tuple(each for each in ignore if isinstance(each, str))
        values = _values([each for each in ignore if not isinstance(each, str)])
        return cls(str(value["name"]), labels, replace(IGNORED, categories=names, values=values))


def is_background(name: str) -> bool:
    """Whether a label is called background, as labelme and others write it too."""
    return name.strip(" _").lower() == "background"


@cache
def voc_color(index: int) -> Color:
    """The colour of ``index`` in the Pascal VOC colour map: distinct for all 256 indices.

    Source: VOCcolormap in the Pascal VOC 2012 development kit.
    """
    red, green, blue = (
        sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8))
        for channel in range(3)
    )
    return red, green, blue


def _label(index: int, entry: Mapping[str, Any]) -> Label:
    name, values = str(entry["name"]), _values(entry.get("values", []))
    categories, priority = entry.get("categories", ()), entry.get("priority")
    if not isinstance(categories, list | tuple):
        raise ValueError(f"label {name!r}: categories is {categories!r}, expected a list of names")
    if type(priority) not in (int, float, type(None)):
        raise ValueError(f"label {name!r}: priority is {priority!r}, expected a number")
    if "color" in entry:
        color = _color(entry["color"])
    elif values and isinstance(values[0], tuple):
        color = values[0]
    else:  # black is for the background alone
        color = voc_color(index + (bool(values) and not is_background(name)))
    priority = None if priority is None else float(priority)
    return Label(name, color, priority, tuple(map(str, categories)), values)


def _color(value: Any, what: str = "color", number: str = "") -> Color:
    if not (isinstance(value, list | tuple) and [type(channel) for channel in value] == [int] * 3):
        raise ValueError(f"{what} is {value!r}, expected {number}[red, green, blue], 0 to 255 each")
    red, green, blue = value
    return red, green, blue


def _values(some: Any) -> tuple[Value, ...]:
    return tuple(v if type(v) is int else _color(v, "value", "a number or ") for v in _listed(some))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _plain(values: tuple[Value, ...]) -> list[Any]:
    return [list(v) if isinstance(v, tuple) else v for v in values]
