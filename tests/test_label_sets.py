"""Label sets: the tables, their rules, and the files that people write."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.label_sets import (
    GROUPS,
    LABEL_SETS,
    VOC,
    binary_label_set,
    category_label_set,
    load_label_set,
    read_label_set,
    write_label_set,
)
from datasets.labels import BACKGROUND, IGNORE_INDEX, MAX_LABELS, Label, LabelSet, voc_color

# The 80 categories of COCO 2017 by id, in ascending order.
COCO = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train",
    8: "truck", 9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign",
    14: "parking meter", 15: "bench", 16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep",
    21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe", 27: "backpack",
    28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove",
    41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass",
    47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple",
    54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza",
    60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote",
    76: "keyboard", 77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink",
    82: "refrigerator", 84: "book", 85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear",
    89: "hair drier", 90: "toothbrush",
}  # fmt: skip


def test_every_coco_category_is_in_one_group_and_nothing_else_is() -> None:
    assert len(COCO) == 80
    assert sorted(GROUPS.index_by_category) == sorted(COCO.values())


def test_groups_have_the_order_and_priorities_of_the_specification() -> None:
    assert {label.name: label.priority for label in GROUPS.labels} == {
        "background": None, "living": 4.0, "vehicles": 3.0, "urban": 2.5, "sports": 1.5,
        "personal": 1.0, "kitchen": 2.0, "fruit": 2.0, "household": 1.0, "electronics": 2.5,
    }  # fmt: skip
    assert GROUPS.names == (
        "background", "living", "vehicles", "urban", "sports", "personal", "kitchen", "fruit",
        "household", "electronics",
    )  # fmt: skip
    assert [len(label.categories) for label in GROUPS.labels] == [0, 11, 8, 5, 10, 8, 14, 3, 10, 11]


def test_voc_has_the_index_order_of_torchvisions_reference() -> None:
    ids = [5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72]
    assert [label.categories for label in VOC.labels[1:]] == [(COCO[id],) for id in ids]
    assert VOC.index_by_category == {COCO[id]: index for index, id in enumerate(ids, 1)}


def test_voc_colors_are_those_of_the_development_kit_and_all_differ() -> None:
    assert [voc_color(index) for index in (0, 1, 2, 3, 4, 15, 20, 255)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (192, 128, 128),
        (0, 64, 128), (224, 224, 192),
    ]  # fmt: skip
    assert len({voc_color(index) for index in range(256)}) == 256


@pytest.mark.parametrize("label_set", LABEL_SETS.values(), ids=lambda s: s.name)
def test_the_palette_holds_every_labels_color(label_set: LabelSet) -> None:
    palette = label_set.palette()
    assert len(palette) == 768 and all(0 <= value <= 255 for value in palette)
    for index, label in enumerate(label_set.labels):
        assert tuple(palette[3 * index : 3 * index + 3]) == label.color
    assert tuple(palette[-3:]) == (224, 224, 224)
    assert len({label.color for label in label_set.labels}) == len(label_set)


@pytest.mark.parametrize(
    "label_set", [GROUPS, VOC, binary_label_set(["a"]), category_label_set(["b", "a"])]
)
def test_a_label_set_survives_json(label_set: LabelSet) -> None:
    assert LabelSet.from_dict(json.loads(json.dumps(label_set.to_dict()))) == label_set


def test_categories_become_labels_in_their_order_once_each() -> None:
    label_set = category_label_set(["dog", "cat", "dog", "background", "ant"])
    assert label_set.names == ("background", "dog", "cat", "ant")
    assert label_set.index_by_category == {"dog": 1, "cat": 2, "ant": 3}
    assert not label_set.has_priorities


def test_every_category_but_the_background_is_an_object() -> None:
    label_set = binary_label_set(["dog", "background", "cat", "dog"])
    assert label_set.names == ("background", "object")
    assert label_set.index_by_category == {"dog": 1, "cat": 1}


def test_254_categories_fit_and_255_do_not() -> None:
    assert len(category_label_set(map(str, range(254)))) == MAX_LABELS == IGNORE_INDEX
    with pytest.raises(ValueError, match="256 labels, expected 1 to 255"):
        category_label_set(map(str, range(255)))


def labels(*rows: dict[str, Any], name: str = "mine") -> dict[str, Any]:
    return {"name": name, "labels": [{"name": "background"}, *rows]}


PET = {"name": "pet", "categories": ["dog", "cat"]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "not JSON: Expecting value"),
        ([], "not a label set"),
        (5, "not a label set"),
        (labels({"name": "a", "color": "red"}), "color is 'red', expected .red, green, blue"),
        (
            labels({"name": "a", "priority": "high"}),
            "label 'a': priority is 'high', expected a num",
        ),
        (labels({"name": "a", "priority": [1]}), "label 'a': priority is .1., expected a number"),
        ({"name": "x", "labels": []}, "0 labels, expected 1 to 255"),
        (labels("pet"), "not a label set"),
        ({"name": "x", "labels": {"pet": ["dog"]}}, "not a label set"),
        (labels(PET, PET), "two labels named 'pet'"),
        (labels(PET, {"name": "background"}), "two labels named 'background'"),
        (labels(PET, {"name": "dogs", "categories": ["dog"]}), "'dog' is in label 'pet' and in"),
        (labels({"name": "a", "categories": ["dog", "dog"]}), "'dog' is in label 'a' and in"),
        (labels({**PET, "categories": "dog"}), "'dog', expected a list of names"),
        (labels({**PET, "categories": {"dog": 1}}), "expected a list of names"),
        (labels({**PET, "categories": ["dgo"]}), "'dgo'.* the nearest it has is 'dog'"),
        (labels({**PET, "categories": ["qqq"]}), "'qqq'.* the nearest it has is '"),
        (labels({**PET, "colour": [1, 2, 3]}), "'pet' has the key 'colour', .*nearest is 'color'"),
        (labels({**PET, "category": ["dog"]}), "'category', .*the nearest is 'categories'"),
        ({**labels(PET), "label": []}, "the label set has the key 'label', expected name, labels"),
        (labels({**PET, "color": "red"}), "color is 'red', expected .red, green, blue."),
        (labels({**PET, "color": [1, 2]}), r"color is \[1, 2\], expected"),
        (labels({**PET, "color": [1, 2, 3.5]}), r"color is \[1, 2, 3.5\], expected"),
        (labels({**PET, "color": [1, 2, 256]}), "color .*256.*expected 0 to 255"),
        (labels({**PET, "color": [-1, 2, 3]}), "expected 0 to 255"),
        (labels({**PET, "priority": "high"}), "high"),
        (labels({**PET, "priority": float("nan")}), "priority nan, not finite"),
        (labels({**PET, "priority": float("inf")}), "priority inf, not finite"),
        (labels(PET, {"name": "b", "priority": 1}), "no priority to pet"),
        ({"name": "x", "labels": [PET]}, "'pet', is the background and takes no categories"),
        (labels(*({"name": str(n)} for n in range(255))), "256 labels"),
    ],
)
def test_a_label_set_file_that_contradicts_itself_is_an_error_that_says_how(
    tmp_path: Path, value: Any, message: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(ValueError, match=rf"mine\.json: .*{message}"):
        load_label_set(str(path), ["dog", "cat", "bird"])


def test_a_label_set_file_is_read_with_or_without_colors_and_byte_order_mark(
    tmp_path: Path,
) -> None:
    value = labels({**PET, "color": [1, 2, 3], "priority": 2}, {"name": "sky", "priority": -1.5})
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(value), encoding="utf-8-sig")
    assert load_label_set(str(path), ["dog", "cat"]) == LabelSet(
        "mine",
        (
            BACKGROUND,
            Label("pet", (1, 2, 3), 2.0, ("dog", "cat")),
            Label("sky", voc_color(2), -1.5),
        ),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "Straße\nBaum\n"),
        ("labelmap.txt", "# label\nStraße:1,2,3::\nBaum:4,5,6::\n"),
        ("set.json", '{"name": "x", "labels": [{"name": "Straße"}, {"name": "Baum"}]}'),
    ],
)
def test_a_label_set_file_is_read_in_whatever_unicode_it_is_written(
    tmp_path: Path, name: str, text: str, encoding: str
) -> None:
    (tmp_path / name).write_text(text, encoding=encoding)
    assert read_label_set(tmp_path / name).names == ("Straße", "Baum")


@pytest.mark.parametrize("name", ["nothing.json", "VOC", "", "."])
def test_a_name_that_is_neither_known_nor_a_file_lists_the_known(name: str) -> None:
    with pytest.raises(ValueError, match="neither a file nor one of groups, voc"):
        load_label_set(name, ["dog"])


def test_a_known_name_needs_no_category_of_the_file() -> None:
    assert load_label_set("groups", ["dragon"]) is GROUPS


def test_a_written_label_set_is_read_back_with_one_label_a_category(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    write_label_set(path, ["dog", "background", "cat", "dog"])
    label_set = load_label_set(str(path), ["dog", "cat"])
    assert label_set.names == ("background", "dog", "cat")
    assert label_set.index_by_category == {"dog": 1, "cat": 2}
    assert [label.priority for label in label_set.labels] == [None, 1.0, 1.0]


def test_any_number_of_categories_is_written_to_be_put_together(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    names = [f"thing {number}" for number in range(1203)]
    write_label_set(path, names)
    with pytest.raises(ValueError, match="1204 labels, expected 1 to 255"):
        load_label_set(str(path), names)
    data = json.loads(path.read_text())
    data["labels"][1]["categories"] = names[:1000]
    del data["labels"][2:1002]
    path.write_text(json.dumps(data))
    assert len(load_label_set(str(path), names)) == 204


NO_LABEL_SETS: list[Any] = [
    *({"format_version": 1, "label_set": {}}, {"labels": [{"name": "background"}]}, {}, [], None),
    *("text", 5, ["background"], [{"name": "background"}]),
    *({"name": "x", "labels": value} for value in (5, "abc", None, {"a": 1}, ["a"], [{}], [None])),
]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"images": [], "annotations": [], "categories": []}, "not a label set, but an annotation"),
        *((value, 'not a label set; expected {"name": ...') for value in NO_LABEL_SETS),
    ],
)
def test_other_json_is_told_in_one_clear_text(tmp_path: Path, value: object, words: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(value))
    with pytest.raises(ValueError, match="not a label set") as error:
        load_label_set(str(tmp_path / "a.json"), ["dog"])
    assert words in str(error.value) and "a.json" in str(error.value)


def test_ignored_categories_are_255_and_survive_json(tmp_path: Path) -> None:
    labels = [{"name": "background"}, {"name": "pet", "categories": ["dog"]}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"name": "x", "labels": labels, "ignore": ["unknown"]}))
    label_set = load_label_set(str(path), ["dog", "unknown"])
    assert label_set.index_by_category == {"dog": 1, "unknown": 255}
    assert LabelSet.from_dict(label_set.to_dict()) == label_set
    with pytest.raises(ValueError, match="names the category 'unknown', which"):
        load_label_set(str(path), ["dog", "cat"])
    labels[1]["categories"].append("unknown")
    path.write_text(json.dumps({"name": "x", "labels": labels, "ignore": ["unknown"]}))
    with pytest.raises(ValueError, match="'unknown' is in label 'pet' and in label 'ignore'"):
        load_label_set(str(path), ["dog", "unknown"])


# Linear RGB as people without one kind of cone see it (Machado, Oliveira, Fernandes 2009).
VISION = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab_of(color: tuple[int, int, int], vision: str) -> np.ndarray:
    """CIE 1976 L*a*b* (D65) of an sRGB color, as seen."""
    rgb = np.array(color) / 255
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    linear = np.clip(np.asarray(VISION[vision]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = (np.asarray(to_xyz) @ linear) / (0.9505, 1.0, 1.089)
    f = [v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_the_colors_of_the_groups_can_be_told_apart(vision: str) -> None:
    seen = [lab_of(label.color, vision) for label in GROUPS.labels]
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    assert nearest > 20  # a difference of 2 is just noticeable
