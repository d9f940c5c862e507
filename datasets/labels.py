"""Label, LabelSet, IGNORE_INDEX: what a pixel value means, and which label wins an overlap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IGNORE_INDEX = 255  # pixels that no loss and no score counts
MAX_LABELS = 255  # indices 0..254: an 8-bit mask, less IGNORE_INDEX
IGNORE_COLOR = (224, 224, 224)

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Label:
    """One class of pixels.

    Attributes:
        name: unique within its label set.
        color: RGB, 0..255 each, used in mask palettes and overlays.
        priority: the label of higher priority keeps a pixel that two objects claim; None where
            the label set does not rank its labels.
        categories: names of the COCO categories that this label stands for.
    """

    name: str
    color: Color
    priority: float | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelSet:
    """Every label by index: index 0 is the background, the rest are in order.

    Raises:
        ValueError: no labels or too many, a duplicate name, a category in two labels, a colour or
            priority out of range, or priorities on some labels only.
    """

    name: str
    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.labels) <= MAX_LABELS:
            raise ValueError(
                f"label set {self.name!r} has {len(self.labels)} labels, expected 1 to "
                f"{MAX_LABELS} with the background: an 8-bit mask has no room for more; "
                "put several categories into one label"
            )
        _check_names(self)
        _check_colors_and_priorities(self)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    @property
    def has_priorities(self) -> bool:
        return any(label.priority is not None for label in self.labels[1:])

    @property
    def index_by_category(self) -> dict[str, int]:
        """Category name -> label index, for every category that a label names."""
        return {
            category: index
            for index, label in enumerate(self.labels)
            for category in label.categories
        }

    def palette(self) -> list[int]:
        """The 768 numbers of a PNG palette: R, G, B of pixel values 0 to 255."""
        colors = [label.color for label in self.labels]
        colors += [voc_color(index) for index in range(len(colors), 255)]
        return [channel for color in (*colors, IGNORE_COLOR) for channel in color]

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, as masks.json and checkpoints hold it; ``from_dict`` reads it."""
        return {
            "name": self.name,
            "labels": [
                {
                    "name": label.name,
                    "color": list(label.color),
                    "priority": label.priority,
                    "categories": list(label.categories),
                }
                for label in self.labels
            ],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> LabelSet:
        """The inverse of ``to_dict``; a label without a color gets that of the VOC colour map.

        Raises:
            ValueError: a key is missing or of another type, or the labels contradict each other.
        """
        try:
            labels = tuple(
                Label(
                    name=str(entry["name"]),
                    color=_color(entry.get("color", voc_color(index))),
                    priority=None if entry.get("priority") is None else float(entry["priority"]),
                    categories=_names(entry.get("categories", ())),
                )
                for index, entry in enumerate(value["labels"])
            )
            return cls(name=str(value["name"]), labels=labels)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a label set: {type(error).__name__}: {error}") from error


def voc_color(index: int) -> Color:
    """The colour of ``index`` in the Pascal VOC colour map: distinct for all 256 indices.

    Source: VOCcolormap in the Pascal VOC 2012 development kit.
    """
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (index & 1) << shift
        green |= (index >> 1 & 1) << shift
        blue |= (index >> 2 & 1) << shift
        index >>= 3
    return red, green, blue


def _color(value: Any) -> Color:
    if not (isinstance(value, list | tuple) and [type(channel) for channel in value] == [int] * 3):
        raise TypeError(f"color is {value!r}, expected [red, green, blue], 0 to 255 each")
    red, green, blue = value
    return red, green, blue


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"categories is {value!r}, expected a list of names")
    return tuple(str(name) for name in value)


def _check_names(label_set: LabelSet) -> None:
    seen_names: set[str] = set()
    owner: dict[str, str] = {}
    for label in label_set.labels:
        if label.name in seen_names:
            raise ValueError(f"label set {label_set.name!r} has two labels named {label.name!r}")
        seen_names.add(label.name)
        for category in label.categories:
            if category in owner:
                raise ValueError(
                    f"category {category!r} is in label {owner[category]!r} and in label "
                    f"{label.name!r} of label set {label_set.name!r}, expected in one"
                )
            owner[category] = label.name
    if label_set.labels[0].categories:
        raise ValueError(
            f"the first label of label set {label_set.name!r}, {label_set.labels[0].name!r}, is "
            "the background and takes no categories; those left out of every label become it"
        )


def _check_colors_and_priorities(label_set: LabelSet) -> None:
    for label in label_set.labels:
        if not all(0 <= channel <= 255 for channel in label.color):
            raise ValueError(f"label {label.name!r} has color {label.color}, expected 0 to 255")
        if label.priority is not None and not abs(label.priority) < float("inf"):
            raise ValueError(f"label {label.name!r} has priority {label.priority}, not finite")
    missing = [label.name for label in label_set.labels[1:] if label.priority is None]
    if label_set.has_priorities and missing:
        raise ValueError(
            f"label set {label_set.name!r} gives no priority to {', '.join(missing)}, but to "
            "others; give one to every label but the background, or to none"
        )


BACKGROUND = Label("background", (0, 0, 0))
