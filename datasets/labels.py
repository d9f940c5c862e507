"""Label, LabelSet, IGNORE_INDEX: what a pixel value means, and which label wins an overlap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IGNORE_INDEX = 255  # pixels that no loss and no score counts
MAX_LABELS = 255  # indices 0..254: an 8-bit mask, less IGNORE_INDEX
IGNORE_COLOR = (224, 224, 224)

Color = tuple[int, int, int]
Value = int | Color  # of a pixel in masks that others made: a number, or the colour itself


@dataclass(frozen=True)
class Label:
    """One class of pixels.

    Attributes:
        name: unique within its label set.
        color: RGB, 0..255 each, used in mask palettes and overlays.
        priority: the label of higher priority keeps a pixel that two objects claim; None where
            the label set does not rank its labels.
        categories: names of the COCO categories that this label stands for.
        values: what its pixels have in masks that others made, instead of categories.
    """

    name: str
    color: Color
    priority: float | None = None
    categories: tuple[str, ...] = ()
    values: tuple[Value, ...] = ()


@dataclass(frozen=True)
class LabelSet:
    """Every label by index: index 0 is the background if there is one, the rest are in order.

    Attributes:
        name: for people.
        labels: by index.
        ignore: what pixels that do not count have in masks that others made; if it is empty, 255,
            unless that is a label's or masks are told by their colours.
        ignored_categories: names of the COCO categories whose regions do not count, 255: in a
            label set's file strings under "ignore".

    Raises:
        ValueError: no labels or too many, a duplicate name, a category or pixel value in two
            labels, a colour, value or priority out of range, or priorities or values on some
            labels only.
    """

    name: str
    labels: tuple[Label, ...]
    ignore: tuple[Value, ...] = ()
    ignored_categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.labels) <= MAX_LABELS:
            raise ValueError(
                f"label set {self.name!r} has {len(self.labels)} labels, expected 1 to "
                f"{MAX_LABELS} with the background: an 8-bit mask has no room for more; "
                "put several categories into one label"
            )
        _check_names(self)
        _check_colors_and_priorities(self)
        _check_values(self)

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
        indices = dict.fromkeys(self.ignored_categories, IGNORE_INDEX)
        for index, label in enumerate(self.labels):
            indices |= dict.fromkeys(label.categories, index)
        return indices

    def palette(self) -> list[int]:
        """The 768 numbers of a PNG palette: R, G, B of pixel values 0 to 255."""
        colors = [label.color for label in self.labels]
        colors += [voc_color(index) for index in range(len(colors), 255)]
        return [channel for color in (*colors, IGNORE_COLOR) for channel in color]

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
        ignore = [*_plain(self.ignore), *self.ignored_categories]
        show = self.describes_masks or ignore
        return {"name": self.name, "labels": labels, **({"ignore": ignore} if show else {})}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> LabelSet:
        """The inverse of ``to_dict``; a label without a color gets that of the VOC colour map.

        Of a label whose values are colours, the first is its color.

        Raises:
            ValueError: a key is missing or of another type, or the labels contradict each other.
        """
        try:
            labels = tuple(
                Label(
                    name=str(entry["name"]),
                    color=_color(entry.get("color", _default_color(index, entry))),
                    priority=None if entry.get("priority") is None else float(entry["priority"]),
                    categories=_names(entry.get("categories", ())),
                    values=_values(entry.get("values", [])),
                )
                for index, entry in enumerate(value["labels"])
            )
            ignore = value.get("ignore", [])
            ignore = ignore if isinstance(ignore, list | tuple) else [ignore]
            return cls(
                name=str(value["name"]),
                labels=labels,
                ignore=_values([each for each in ignore if not isinstance(each, str)]),
                ignored_categories=tuple(each for each in ignore if isinstance(each, str)),
            )
        except (KeyError, TypeError, AttributeError) as error:
            lacks = "it lacks " if isinstance(error, KeyError) else ""
            kind = "; it is an annotation file" if _is_annotations(value) else ""
            raise ValueError(
                f"not a label set: {lacks}{error}{kind}; expected "
                '{"name": ..., "labels": [{"name": "background"}, {"name": ..., "categories": '
                "[...]}, ...]}, such as --write_label_set writes"
            ) from error


def _is_annotations(value: Any) -> bool:
    return isinstance(value, dict) and "annotations" in value


def is_background(name: str) -> bool:
    """Whether a label is called background, as labelme and others write it too."""
    return name.strip(" _").lower() == "background"


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


def _default_color(index: int, entry: Mapping[str, Any]) -> Color:
    """Black is for the background alone."""
    values = _values(entry.get("values", []))
    if values and isinstance(values[0], tuple):
        return values[0]
    return voc_color(index + (bool(values) and not is_background(str(entry["name"]))))


def _values(value: Any) -> tuple[Value, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(v if type(v) is int else _color(v) for v in values)


def _plain(values: tuple[Value, ...]) -> list[Any]:
    return [list(v) if isinstance(v, tuple) else v for v in values]


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"categories is {value!r}, expected a list of names")
    return tuple(str(name) for name in value)


def _check_names(label_set: LabelSet) -> None:
    seen_names: set[str] = set()
    owner = dict.fromkeys(label_set.ignored_categories, "ignore")
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


def _check_values(label_set: LabelSet) -> None:
    owner: dict[Color, str] = {}
    of_labels = [(label.name, label.values) for label in label_set.labels]
    for name, values in (*of_labels, ("ignore", label_set.ignore)):
        for value in values:
            channels = value if isinstance(value, tuple) else (value,) * 3  # a gray is its number
            if not all(0 <= channel <= 255 for channel in channels):
                raise ValueError(f"{name!r} has the value {value}, expected 0 to 255")
            if channels in owner:
                raise ValueError(
                    f"label set {label_set.name!r} has the value {value} in {owner[channels]!r} "
                    f"and in {name!r}, expected once; write a colour as [[red, green, blue]]"
                )
            owner[channels] = name
    without = [name for name, values in of_labels if not values]
    if without and owner:
        raise ValueError(
            f"label set {label_set.name!r} gives no values to {', '.join(without)}, but to others; "
            "give each label the values that its pixels have in the masks, or none"
        )


BACKGROUND = Label("background", (0, 0, 0))
