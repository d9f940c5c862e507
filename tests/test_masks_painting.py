"""Painted label maps and their accounts, against slow loops over annotations and pixels."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from conftest import box_polygon, compressed_rle, uncompressed_rle
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import annotation_region, paint_one_by_one

from datasets.coco.records import ImageEntry
from datasets.label_sets import GROUPS, VOC, binary_label_set, category_label_set
from datasets.labels import IGNORE_INDEX, LabelSet
from datasets.masks.account import Account
from datasets.masks.label_map import Rules, draw_label_map
from datasets.masks.painting import CROWD_RULES, OVERLAP_RULES, Canvas, Region, paint

CATEGORIES = {1: "person", 3: "car", 15: "bench", 44: "bottle", 53: "apple", 62: "chair", 90: "x"}
LABEL_SETS = {
    "groups": GROUPS,
    "voc": VOC,
    "binary": binary_label_set(CATEGORIES.values()),
    "categories": category_label_set(CATEGORIES.values()),
}
RULES = [
    (name, overlap, crowd)
    for name, overlap, crowd in itertools.product(LABEL_SETS, OVERLAP_RULES, CROWD_RULES)
    if overlap != "priority" or LABEL_SETS[name].has_priorities
]
HEIGHT, WIDTH = 11, 14


@st.composite
def annotations(draw: st.DrawFn) -> dict[str, Any]:
    """An annotation of an image of HEIGHT x WIDTH: polygons or either run-length encoding."""
    left, top = draw(st.integers(-3, WIDTH)), draw(st.integers(-3, HEIGHT))
    right, bottom = left + draw(st.integers(1, 12)), top + draw(st.integers(1, 12))
    kind = draw(st.sampled_from(["polygon", "polygons", "compressed", "uncompressed"]))
    if kind == "polygon":
        segmentation: Any = [box_polygon(left, top, right, bottom)]
    elif kind == "polygons":
        segmentation = [[left, top, right, top, left, bottom], box_polygon(2, 3, 9, 5)]
    else:
        region = np.zeros((HEIGHT, WIDTH), np.uint8)
        region[max(top, 0) : bottom, max(left, 0) : right] = 1
        region[::2, ::3] |= draw(st.booleans())
        segmentation = (compressed_rle if kind == "compressed" else uncompressed_rle)(region)
    return {
        "id": draw(st.integers(0, 99)),
        "image_id": 1,
        "category_id": draw(st.sampled_from([*CATEGORIES])),
        "segmentation": segmentation,
        "iscrowd": draw(st.sampled_from([0, 0, 0, 1])),
    }


def draw_scene(
    scene: list[dict[str, Any]], label_set: LabelSet, overlap: str, crowd: str
) -> tuple[np.ndarray, Account]:
    texts = [json.dumps(annotation).encode() for annotation in scene]
    rules = Rules(label_set, (CATEGORIES,), overlap, crowd)
    return draw_label_map(ImageEntry(1, "a.jpg", HEIGHT, WIDTH), texts, rules)


def label_of(label_set: LabelSet) -> dict[int, int]:
    return {id: label_set.index_by_category.get(name, 0) for id, name in CATEGORIES.items()}


@settings(max_examples=300, deadline=None)
@given(scene=st.lists(annotations(), max_size=9), rules=st.sampled_from(RULES))
def test_any_scene_equals_ann_to_mask_painted_one_by_one(
    scene: list[dict[str, Any]], rules: tuple[str, str, str]
) -> None:
    name, overlap, crowd = rules
    label_set = LABEL_SETS[name]
    label_map, account = draw_scene(scene, label_set, overlap, crowd)
    expected = paint_one_by_one(
        scene, HEIGHT, WIDTH, label_of(label_set), label_set, overlap, crowd
    )
    assert np.array_equal(label_map, expected)
    assert label_map.dtype == np.uint8 and label_map.flags.c_contiguous
    assert account.pixels == dict(zip(*np.unique(expected, return_counts=True), strict=True))


def count_pixel_by_pixel(
    scene: list[dict[str, Any]], label_map: np.ndarray, label_set: LabelSet, crowd: str
) -> tuple[int, Counter[tuple[int, int]], Counter[str]]:
    """Contested pixels, (winner, loser) -> pixels, category name -> hidden annotations."""
    labels = label_of(label_set)
    drawn = [
        (labels[id], CATEGORIES[id], annotation_region(annotation, HEIGHT, WIDTH))
        for annotation in scene
        if labels[id := annotation["category_id"]]
        and (crowd == "paint" or not annotation["iscrowd"])
    ]
    contested, beaten = 0, Counter()
    for row, column in itertools.product(range(HEIGHT), range(WIDTH)):
        claimants = {label for label, _, region in drawn if region[row, column]}
        contested += len(claimants) > 1
        for loser in claimants - {label_map[row, column]}:
            beaten[int(label_map[row, column]), loser] += 1
    hidden = Counter(
        name
        for label, name, region in drawn
        if region.any()
        and not any(label_map[row, column] == label for row, column in np.argwhere(region))
    )
    return contested, beaten, hidden


@settings(max_examples=200, deadline=None)
@given(scene=st.lists(annotations(), max_size=9), rules=st.sampled_from(RULES))
def test_the_account_of_overlaps_equals_a_loop_over_pixels(
    scene: list[dict[str, Any]], rules: tuple[str, str, str]
) -> None:
    name, overlap, crowd = rules
    label_map, account = draw_scene(scene, LABEL_SETS[name], overlap, crowd)
    contested, beaten, hidden = count_pixel_by_pixel(scene, label_map, LABEL_SETS[name], crowd)
    assert account.totals["contested_pixels"] == contested
    assert account.beaten == beaten
    assert account.hidden == hidden
    names = Counter(CATEGORIES[a["category_id"]] for a in scene)
    known = LABEL_SETS[rules[0]].index_by_category
    mapped = {name: n for name, n in names.items() if name in known}
    assert account.drawn + account.empty == mapped
    assert account.unmapped == {name: n for name, n in names.items() if name not in mapped}
    assert account.totals["annotations"] == len(scene)
    assert account.totals["crowds"] == sum(
        a["iscrowd"] for a in scene if CATEGORIES[a["category_id"]] in mapped
    )
    assert Account.of_stamp(json.loads(json.dumps(account.to_stamp())), "a.jpg") == account


@settings(max_examples=100, deadline=None)
@given(scene=st.lists(annotations(), max_size=6), data=st.data())
def test_order_is_free_when_priorities_differ(scene: list[dict[str, Any]], data: Any) -> None:
    ranked = [a for a in scene if a["category_id"] in (1, 3, 15, 53)]  # 4.0, 3.0, 2.5, 2.0
    shuffled = data.draw(st.permutations(ranked))
    for crowd in CROWD_RULES:
        one, _ = draw_scene(ranked, GROUPS, "priority", crowd)
        other, _ = draw_scene(shuffled, GROUPS, "priority", crowd)
        assert np.array_equal(one, other)


def regions(*spans: tuple[int, int, int], crowds: tuple[int, ...] = ()) -> list[Region]:
    """Regions of a 1 x 4 image: (label, first column, column behind the last)."""
    return [
        Region(label, ((np.array([start]), np.array([stop])),), number in crowds)
        for number, (label, start, stop) in enumerate(spans)
    ]


@pytest.mark.parametrize(
    ("overlap", "expected", "beaten", "hidden"),
    [
        # Label 1 covers pixels 0-2, then label 2 covers 1-3, then label 3 covers 2.
        ("later", [1, 2, 3, 2], {(2, 1): 1, (3, 1): 1, (3, 2): 1}, (False, False, False)),
        ("priority", [1, 2, 2, 2], {(2, 1): 2, (2, 3): 1}, (False, False, True)),
        ("smaller", [1, 2, 3, 2], {(2, 1): 1, (3, 1): 1, (3, 2): 1}, (False, False, False)),
        ("ignore", [1, 255, 255, 2], {(255, 1): 2, (255, 2): 2, (255, 3): 1},
         (False, False, True)),
    ],
)  # fmt: skip
def test_overlaps_of_four_pixels_counted_by_hand(
    overlap: str, expected: list[int], beaten: dict[tuple[int, int], int], hidden: tuple[bool, ...]
) -> None:
    painting = paint(
        regions((1, 0, 3), (2, 1, 4), (3, 2, 3)),
        1,
        4,
        overlap=overlap,
        priorities={1: 1, 2: 5, 3: 1},
    )
    assert painting.label_map.tolist() == [expected]
    assert painting.contested == 2
    assert painting.beaten == beaten
    assert painting.hidden == hidden
    assert painting.pixels.tolist() == np.bincount(expected, minlength=256).tolist()


@pytest.mark.parametrize(
    ("crowd", "expected", "contested"),
    [("paint", [1, 2, 2, 2], 1), ("background", [1, 1, 0, 0], 0), ("ignore", [1, 1, 255, 255], 0)],
)
def test_crowds_of_four_pixels_counted_by_hand(
    crowd: str, expected: list[int], contested: int
) -> None:
    painting = paint(regions((1, 0, 2), (2, 1, 4), crowds=(1,)), 1, 4, crowd=crowd)
    assert painting.label_map.tolist() == [expected]
    assert painting.contested == contested


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [("later", [1, 2, 2, 0]), ("priority", [1, 2, 2, 0]), ("smaller", [1, 2, 2, 0])],
)
def test_the_later_wins_where_priorities_or_areas_are_equal(
    overlap: str, expected: list[int]
) -> None:
    painting = paint(regions((1, 0, 2), (2, 1, 3)), 1, 4, overlap=overlap, priorities={1: 1, 2: 1})
    assert painting.label_map.tolist() == [expected]


def test_higher_priority_wins_where_regions_overlap_whatever_their_order() -> None:
    for spans in ([(1, 0, 3), (2, 1, 4)], [(2, 1, 4), (1, 0, 3)]):
        painting = paint(regions(*spans), 1, 4, overlap="priority", priorities={1: 2, 2: 1})
        assert painting.label_map.tolist() == [[1, 1, 1, 2]]


def test_one_label_twice_contests_nothing_and_hides_nothing() -> None:
    painting = paint(regions((1, 0, 4), (1, 1, 2)), 1, 4, overlap="ignore")
    assert (painting.contested, painting.beaten, painting.hidden) == (0, {}, (False, False))
    assert painting.label_map.tolist() == [[1, 1, 1, 1]]


def test_a_region_without_pixels_is_not_hidden() -> None:
    painting = paint(regions((1, 2, 2), (2, 0, 4), (1, 0, 1)), 1, 4)
    assert painting.hidden == (False, False, False)
    assert painting.label_map.tolist() == [[1, 2, 2, 2]]


def test_no_regions_give_background() -> None:
    painting = paint([], 3, 5)
    assert painting.label_map.tolist() == [[0] * 5] * 3
    assert painting.pixels[0] == 15 and painting.pixels.sum() == 15


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 200), (200, 1), (3, 63), (3, 64), (70, 129)]
)
def test_labels_spread_down_the_columns(height: int, width: int) -> None:
    ramp = np.arange(height * width) % 250
    starts = np.arange(height * width)
    spread = Canvas([Region(1, ((starts, starts + 1),))], height, width).spread(
        ramp.astype(np.uint8)
    )
    assert np.array_equal(spread, ramp.reshape(width, height).T)


def test_the_last_label_index_can_be_painted() -> None:
    painting = paint(regions((254, 0, 2), (1, 1, 3)), 1, 4, overlap="ignore")
    assert painting.label_map.tolist() == [[254, IGNORE_INDEX, 1, 0]]
