"""The sets to choose from: nine groups, VOC, binary, a label a category, or a person's file."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets.images import find_pictures
from datasets.labels import BACKGROUND, Label, LabelSet, is_background, voc_color
from datasets.mask_files import COLORS, count_values, palette_of, value_of
from runtime.command_line import CommandParser, run_command
from runtime.files import write_json, write_text

SET_KEYS = ("name", "labels", "ignore")
LABEL_KEYS = ("name", "color", "priority", "categories", "values", "share")

DESCRIPTION_NAME = "labels.json"
DESCRIPTIONS = (DESCRIPTION_NAME, "labelmap.txt", "names.txt")  # in a folder of masks; first counts


def load_label_set(name: str, category_names: Iterable[str]) -> LabelSet:
    """The label set of that name in LABEL_SETS, or the one in the file of that name.

    Raises:
        ValueError: there is neither, see ``read_label_set``, or the label set is one of masks, or
            names a category that the annotation file does not have.
    """
    if name in LABEL_SETS:
        return LABEL_SETS[name]
    path = Path(name)
    if not path.is_file():
        known = ", ".join(LABEL_SETS)
        raise ValueError(f"--label_set {name}: neither a file nor one of {known}")
    label_set = read_label_set(path)
    if label_set.describes_masks:
        raise ValueError(
            f'{path}: describes masks that are there, by "values"; to make masks, give labels '
            '"categories"'
        )
    known_names = list(category_names)
    for category in label_set.index_by_category:
        if category not in known_names:
            raise ValueError(
                f"{path}: names the category {category!r}, which the annotation file does not "
                f"have; the nearest it has is {_nearest(category, known_names)!r}"
            )
    return label_set


def read_label_set(path: Path) -> LabelSet:
    """The label set in a file: JSON, CVAT's labelmap.txt, or names.txt.

    CVAT's file has a line "name:red,green,blue::" a label; of a list of names, the first is that
    of value 0, and an empty line stands for a value that no mask has. The line __ignore__, with
    which labelme begins its list, is that of 255.

    Raises:
        ValueError: it cannot be read, contradicts itself or holds something else; names the file.
    """
    try:
        data = path.read_bytes()
        text = data.decode(json.detect_encoding(data))  # UTF-16 too, as Windows' shell writes
        is_json = path.suffix == ".json" or text.lstrip().startswith(("{", "["))
        value = json.loads(text) if is_json else _of_lines(path.stem, text)
        label_set = LabelSet.from_dict(value)
        rows = [(f"label {entry['name']!r}", entry, LABEL_KEYS) for entry in value["labels"]]
        for what, entry, known in (("the label set", value, SET_KEYS), *rows):
            if odd := [key for key in entry if key not in known]:  # it would do nothing, unsaid
                raise ValueError(
                    f"{what} has the key {odd[0]!r}, expected {', '.join(known)}; the nearest is "
                    f"{_nearest(odd[0], known)!r}"
                )
        return label_set
    except (OSError, ValueError) as error:
        no_json = isinstance(error, json.JSONDecodeError)
        raise ValueError(f"{path}: {'not JSON: ' * no_json}{error}") from error


def read_description(path: str | Path) -> LabelSet:
    """What the pixel values of masks mean; a label called background becomes the first.

    Raises:
        ValueError: see ``read_label_set``; or the file says no values.
    """
    label_set = read_label_set(Path(path))
    if not label_set.describes_masks:
        raise ValueError(
            f'{path}: says no pixel values; give each label "values", such as [7] or [[128, 0, 0]]'
        )
    labels = sorted(label_set.labels, key=lambda label: not is_background(label.name))
    return replace(label_set, labels=tuple(labels))


def _of_lines(name: str, text: str) -> dict[str, Any]:
    labels: list[dict[str, Any]] = []
    for number, line in enumerate(text.removeprefix("__ignore__\n").splitlines()):
        match = re.fullmatch(r"\s*(.+?):(\d+),(\d+),(\d+):.*", line)
        if match:
            labels.append({"name": match[1], "values": [[*map(int, match.groups()[1:])]]})
        elif line.strip() and not line.lstrip().startswith("#"):
            labels.append({"name": line.strip(), "values": [number]})
    plain = [label["name"] for label in labels if isinstance(label["values"][0], int)]
    if 0 < len(plain) < len(labels):
        raise ValueError(f"line {plain[0]!r}, expected NAME:RED,GREEN,BLUE:: as in the others")
    return {"name": name, "labels": labels}


def _nearest(word: str, known: Sequence[str]) -> str:
    return difflib.get_close_matches(word, known, 1, cutoff=0.0)[0]


def write_label_set(path: Path, category_names: Iterable[str]) -> None:
    """Write a label set of one label per category, to be edited and read by ``load_label_set``.

    It may hold more labels than a mask: they can be put together by editing.

    Raises:
        OSError: the file cannot be written.
    """
    background = LabelSet(path.stem, (BACKGROUND,)).to_dict()
    background["labels"] += [
        {"name": name, "color": list(voc_color(index % 256)), "priority": 1.0, "categories": [name]}
        for index, name in enumerate(_object_names(category_names), 1)
    ]
    write_json(path, background)


def binary_label_set(category_names: Iterable[str]) -> LabelSet:
    """Background and ``object``: every category is an object, but one named background."""
    categories = tuple(_object_names(category_names))
    return LabelSet("binary", (BACKGROUND, Label("object", (255, 140, 0), categories=categories)))


def category_label_set(category_names: Iterable[str]) -> LabelSet:
    """One label per category name, in the order given; two categories of one name share a label.

    A category named background, which some tools list first, is the background.
    """
    names = _object_names(category_names)
    labels = [Label(name, voc_color(i), categories=(name,)) for i, name in enumerate(names, 1)]
    return LabelSet("categories", (BACKGROUND, *labels))


def _object_names(category_names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(category_names) if name != BACKGROUND.name]


# Nine groups of the COCO categories, with their priorities.
GROUPS = read_label_set(Path(__file__).with_name("groups.json"))
# The Pascal VOC classes, in VOC's order and colours. Source: torchvision's segmentation reference,
# coco_utils.get_coco, so that masks suit the models that torchvision trained on them.
VOC = read_label_set(Path(__file__).with_name("voc.json"))
LABEL_SETS = {label_set.name: label_set for label_set in (GROUPS, VOC)}


def write_survey(masks_dir: Path) -> int:
    """Write a labels.json to be edited: a label for each value in any mask of a folder, its share.

    Numbers count where they can, colours where some mask has no palette for them, or palettes give
    a number several colours. 255 beside other numbers is ignored. Gives the exit code.

    Raises:
        ValueError: there is no mask, one is no mask, they have too many values, or the folder has
            a file that says what they mean.
    """
    path = masks_dir / DESCRIPTION_NAME
    for known in (path, masks_dir / "masks.json"):
        if known.exists():
            raise ValueError(f"{known} is there, and says what the masks mean; it is not replaced")
    paths = find_pictures(masks_dir)
    counts: Counter[int] = Counter()
    colors: dict[int, list[int]] = {}
    by_color = False
    for mask in paths:
        palette, (_, found) = palette_of(mask), count_values(mask)
        counts.update(found)
        used = {value: palette[value] for value in found if value < len(palette)}
        by_color |= max(found) >= COLORS or any(colors.get(v, c) != c for v, c in used.items())
        colors |= used
    if by_color:
        found_colors = (count_values(mask, by_color=True)[1] for mask in paths)
        counts, colors = sum(map(Counter, found_colors), Counter()), {}
    ignored = [255] if not by_color and 255 in counts and len(counts) > 2 else []
    labels = []
    for number in sorted(counts.keys() - ignored):
        written = value_of(number)
        gray = [number] * 3 if by_color else number
        value = list(written) if isinstance(written, tuple) else gray
        row = {"name": f"value {value}", "values": [value]}
        color = {"color": colors[number]} if number in colors else {}
        labels.append({**row, **color, "share": round(counts[number] / counts.total(), 5)})
    name = masks_dir.resolve().name
    LabelSet.from_dict({"name": name, "labels": labels})  # raises where there are too many
    rows = ",\n".join(f"    {json.dumps(label)}" for label in labels)
    head = f'"name": {json.dumps(name)},\n  "ignore": {ignored}'
    write_text(path, f'{{\n  {head},\n  "labels": [\n{rows}\n  ]\n}}\n')
    print(f"{path}: {len(labels)} values. Edit it: give each its name (what is left over, if any,")
    print('is "background"), or delete its line and put it into "ignore"')
    return 0


if __name__ == "__main__":
    parser = CommandParser("python -m datasets.label_sets", write_survey.__doc__)
    parser.add_argument("masks_dir", type=Path, metavar="DIR", help="masks that other tools made")
    arguments = parser.parse_args()
    raise SystemExit(run_command(parser.prog, partial(write_survey, arguments.masks_dir)))
