"""A table of annotations that are wrong in one way each: none may harm more than itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HEIGHT, WIDTH, box_polygon, compressed_rle, rectangle, write_coco

from datasets.coco.records import ImageEntry
from datasets.label_sets import GROUPS
from datasets.mask_files import read_mask
from datasets.masks.label_map import Rules, draw_label_map

NAN, INF = float("nan"), float("inf")
TRIANGLE = [1.0, 1.0, 9.0, 1.0, 9.0, 9.0]
GOOD_RLE = compressed_rle(rectangle(20, 2, 30, 12))
PIXELS = HEIGHT * WIDTH

NO_IMAGE = "annotation without an image_id"
NO_CATEGORY = "category_id is not in the list of categories"
NOT_JSON = "annotation is not valid JSON"
NOT_FLAT = "polygon is not a flat list of numbers [x1, y1, x2, y2, ...]"
ODD = "polygon has an odd count of values"
FEW = "polygon has fewer than 3 points"
FAR = "polygon has a coordinate that is no number up to 1,000,000"
NO_LIST = "polygon is a number, expected [x1, y1, x2, y2, ...]"
RLE_KEYS = "segmentation is an object without the size or counts of RLE"
RLE_SIZE = "RLE size is not the image's height and width"
OUTLINES = "polygons have outlines of over 1,000,000 pixels together"
RLE_COUNTS = "RLE counts are not whole numbers that sum to height x width"
RLE_TEXT = "RLE counts are a text, but not in COCO's compressed form"


def rle(counts: Any, size: Any = (HEIGHT, WIDTH)) -> dict[str, Any]:
    return {"size": list(size) if isinstance(size, tuple) else size, "counts": counts}


def nested(depth: int, inner: str = "") -> str:
    return "[" * depth + inner + "]" * depth


# Segmentations: (what is wrong, value, reason)
SEGMENTATIONS: list[tuple[str, Any, str]] = [
    ("null", None, "no segmentation"),
    ("empty list", [], "no segmentation"),
    ("true", True, "segmentation is a bool, expected polygons or RLE"),
    ("false", False, "segmentation is a bool, expected polygons or RLE"),
    ("zero", 0, "segmentation is a int, expected polygons or RLE"),
    ("nan", NAN, "segmentation is a float, expected polygons or RLE"),
    ("text", "[[1, 1, 9, 1, 9, 9]]", "segmentation is a str, expected polygons or RLE"),
    ("empty text", "", "no segmentation"),
    # polygons
    ("flat list of four", [1, 2, 3, 4], FEW),
    ("flat list of zeros", [0, 0, 0, 0], FEW),
    ("flat list with a null", [1, 1, 9, 1, 9, None], NO_LIST),
    ("flat list and a polygon", [5, TRIANGLE[:5]], NO_LIST),
    ("list of null", [None], "no segmentation"),
    ("empty polygons", [[], []], "no segmentation"),
    ("empty polygon in a list too many", [[[]]], "no segmentation"),
    ("list of text", ["1 1 9 1 9 9"], "polygon is a str, expected [x1, y1, x2, y2, ...]"),
    ("list of objects", [{"x": 1, "y": 2}], "polygon is a dict, expected [x1, y1, x2, y2, ...]"),
    ("objects and pairs", [{}, [1, 2]], "polygon is a dict, expected [x1, y1, x2, y2, ...]"),
    ("list of true", [True, True], NO_LIST),
    ("empty polygon", [[]], "no segmentation"),
    ("two numbers", [[1, 2]], FEW),
    ("four numbers, a box to pycocotools", [[1, 2, 10, 10]], FEW),
    ("two polygons of four numbers", [[1, 2, 10, 10], [3, 4, 5, 6]], FEW),
    ("five numbers", [[1, 2, 3, 4, 5]], ODD),
    ("seven numbers", [[1, 1, 9, 1, 9, 9, 3]], ODD),
    ("points as two pairs", [[[1, 1], [9, 1]]], FEW),
    ("points of three numbers", [[[1, 1, 0], [9, 1, 0], [9, 9, 0]]], ODD),
    ("points as objects", [[{"x": 1, "y": 1}, {"x": 9, "y": 1}, {"x": 9, "y": 9}]], NOT_FLAT),
    ("pairs in too many lists", [[[[[[1, 1], [9, 1], [9, 9]]]]]], NOT_FLAT),
    ("a null number", [[1, 1, None, 1, 9, 9]], NOT_FLAT),
    ("a text number", [[1, 1, "9", 1, 9, 9]], NOT_FLAT),
    ("text numbers", [["1", "1", "9", "1", "9", "9"]], NOT_FLAT),
    ("true among numbers", [[True, 1, 9, 1, 9, 9]], NOT_FLAT),
    ("only booleans", [[True, False, True, True, False, True]], NOT_FLAT),
    ("an object among numbers", [[1, 1, {}, 1, 9, 9]], NOT_FLAT),
    ("ragged", [[1, 1, [9, [1]], 1, 9, 9]], NOT_FLAT),
    ("a megabyte of text", [["x" * 10**6, *[0] * 999]], NOT_FLAT),
    ("nan", [[1, 1, NAN, 1, 9, 9]], FAR),
    ("all nan", [[NAN] * 6], FAR),
    ("inf", [[1, 1, INF, 1, 9, 9]], FAR),
    ("-inf", [[1, 1, 9, -INF, 9, 9]], FAR),
    ("nan and inf", [[NAN, INF, -INF, 1, 9, 9]], FAR),
    ("2 million", [[1, 1, 2e6, 1, 9, 9]], FAR),
    ("minus 2 million", [[1, 1, 9, -2e6, 9, 9]], FAR),
    ("2**31", [[1, 1, 2**31, 1, 9, 9]], FAR),
    ("2**63", [[1, 1, 2**63, 1, 9, 9]], FAR),
    ("2**64 and negative", [[1, -1, 2**64, 1, 9, 9]], FAR),
    ("1e300", [[1, 1, 1e300, 1, 9, 9]], FAR),
    ("-1e300", [[1, 1, -1e300, 1, 9, 9]], FAR),
    ("a whole number beyond floats", [[1, 1, 10**400, 1, 9, 9]], FAR),
    ("zigzag of a million pixels", [[0, 0, 900_000, 0, 0, 1, 900_000, 1]],
     OUTLINES),
    ("parts of a million pixels together", [[0, 0, 400_000, 0, 0, 1]] * 300,
     OUTLINES),
    ("all parts bad, the first is told", [[1], [1, 2], [NAN] * 6], ODD),
    # run-length encodings
    ("empty object", {}, "no segmentation"),
    ("no counts", {"size": [HEIGHT, WIDTH]}, RLE_KEYS),
    ("no size", {"counts": GOOD_RLE["counts"]}, RLE_KEYS),
    ("null counts", rle(None), RLE_KEYS),
    ("null size", rle(GOOD_RLE["counts"], None), RLE_KEYS),
    ("swapped size", rle(GOOD_RLE["counts"], (WIDTH, HEIGHT)), RLE_SIZE),
    ("another size", rle([100], (10, 10)), RLE_SIZE),
    ("zero size", rle([], (0, 0)), RLE_SIZE),
    ("negative size", rle([PIXELS], (-HEIGHT, -WIDTH)), RLE_SIZE),
    ("enormous size", rle([2**40], (2**20, 2**20)), RLE_SIZE),
    ("text size", rle(GOOD_RLE["counts"], (str(HEIGHT), str(WIDTH))), RLE_SIZE),
    ("size of one", rle(GOOD_RLE["counts"], (HEIGHT,)), RLE_SIZE),
    ("size of three", rle(GOOD_RLE["counts"], (HEIGHT, WIDTH, 1)), RLE_SIZE),
    ("size is a number", rle([PIXELS], PIXELS), RLE_SIZE),
    ("size is a text", rle([PIXELS], "30x40"), RLE_SIZE),
    ("size is an object", rle([PIXELS], {"height": HEIGHT}), RLE_SIZE),
    ("nan size", rle([PIXELS], (NAN, WIDTH)), RLE_SIZE),
    ("empty counts", rle([]), RLE_COUNTS),
    ("negative count", rle([-1, PIXELS + 1]), RLE_COUNTS),
    ("negative count, right sum", rle([10, -5, PIXELS - 5]), RLE_COUNTS),
    ("count beyond the image", rle([0, PIXELS + 1]), RLE_COUNTS),
    ("2**32 + right", rle([2**32 + PIXELS]), RLE_COUNTS),
    ("2**31", rle([2**31, 2**31]), RLE_COUNTS),
    ("2**63", rle([2**63, 5]), RLE_COUNTS),
    ("2**64 + right", rle([2**64 + PIXELS]), RLE_COUNTS),
    ("10**400", rle([10**400]), RLE_COUNTS),
    ("1e300", rle([1e300]), RLE_COUNTS),
    ("inf", rle([INF]), RLE_COUNTS),
    ("-inf", rle([-INF, PIXELS]), RLE_COUNTS),
    ("nan", rle([NAN, PIXELS]), RLE_COUNTS),
    ("half counts", rle([0.5, PIXELS - 0.5]), RLE_COUNTS),
    ("text counts", rle(["5", str(PIXELS - 5)]), RLE_COUNTS),
    ("null in counts", rle([5, None, PIXELS - 5]), RLE_COUNTS),
    ("true in counts", rle([True, PIXELS - 1]), RLE_COUNTS),
    ("nested counts", rle([[5, PIXELS - 5]]), RLE_COUNTS),
    ("a megabyte of text in counts", rle(["x" * 10**6, *[0] * 999]), RLE_COUNTS),
    ("sum too small", rle([5, 5]), RLE_COUNTS),
    ("sum too large", rle([PIXELS, 5]), RLE_COUNTS),
    ("all zero", rle([0, 0, 0]), RLE_COUNTS),
    ("sum too large by wrapping", rle([PIXELS] * 1000), RLE_COUNTS),
    ("counts is a number", rle(PIXELS), RLE_COUNTS),
    ("counts is an object", rle({}), RLE_COUNTS),
    ("counts is true", rle(True), RLE_COUNTS),
    ("empty text", rle(""), RLE_TEXT),
    ("non-ASCII text", rle("\u00e9\u00e9"), RLE_TEXT),
    ("half a character", rle("\ud800"), RLE_TEXT),
    ("NUL", rle("1\x000"), RLE_TEXT),
    ("character below", rle("1/0"), RLE_TEXT),
    ("character above", rle("1p0"), RLE_TEXT),
    ("space", rle(" " + GOOD_RLE["counts"]), RLE_TEXT),
    ("line end", rle(GOOD_RLE["counts"] + "\n"), RLE_TEXT),
    ("text cut in a number", rle("o"), RLE_TEXT),
    ("text cut in a later number", rle(GOOD_RLE["counts"] + "P"), RLE_TEXT),
    ("text cut after a number", rle(GOOD_RLE["counts"][:-4]), RLE_COUNTS),
    ("text of a number of 40 bits", rle("o" * 7 + "0"), RLE_TEXT),
    ("text of a number of 5000 bits", rle("o" * 1000 + "0"), RLE_TEXT),
    ("text of a number that is right in 64 bits", rle("`UQPPPPPPPPP@"), RLE_TEXT),
    ("text of a negative count", rle("O"), RLE_COUNTS),
    ("text of a count too large", rle("ooooo0"), RLE_COUNTS),
    ("text of base64", rle("eJwzNDBQMAQAAwEBAQ"), RLE_TEXT),
    ("text of numbers with spaces", rle("5 10 1185"), RLE_TEXT),
]  # fmt: skip

SEGMENTED = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [TRIANGLE]}

# Whole annotations: (what is wrong, JSON text, reason)
ANNOTATIONS: list[tuple[str, str, str]] = [
    ("no segmentation", '{"id": 1, "image_id": 1, "category_id": 1}', "no segmentation"),
    ("a box alone", '{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}',
     "box without segmentation"),
    ("a box and []", json.dumps({**SEGMENTED, "segmentation": [], "bbox": [1, 2, 3, 4]}),
     "box without segmentation"),
    ("no category", json.dumps({**SEGMENTED, "category_id": None}), NO_CATEGORY),
    ("category missing", '{"id": 1, "image_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}',
     NO_CATEGORY),
    ("unknown category", json.dumps({**SEGMENTED, "category_id": 2}), NO_CATEGORY),
    ("negative category", json.dumps({**SEGMENTED, "category_id": -1}), NO_CATEGORY),
    ("category by name", json.dumps({**SEGMENTED, "category_id": "person"}), NO_CATEGORY),
    ("category true", json.dumps({**SEGMENTED, "category_id": True}), NO_CATEGORY),
    ("category a list", json.dumps({**SEGMENTED, "category_id": [1]}), NO_CATEGORY),
    ("category an object", json.dumps({**SEGMENTED, "category_id": {"id": 1}}), NO_CATEGORY),
    ("category nan", json.dumps({**SEGMENTED, "category_id": NAN}), NO_CATEGORY),
    ("category 1.5", json.dumps({**SEGMENTED, "category_id": 1.5}), NO_CATEGORY),
    ("category enormous", json.dumps({**SEGMENTED, "category_id": 10**300}), NO_CATEGORY),
    ("not JSON", '{"id": 1, "image_id": 1, "segmentation": [[1, 1,, 9]]}', NOT_JSON),
    ("a bare word", '{"id": 1, "image_id": 1, "segmentation": undefined}', NOT_JSON),
    ("single quotes", "{'id': 1, \"image_id\": 1, 'segmentation': []}", NOT_JSON),
    ("a number of 5000 digits", json.dumps(SEGMENTED).replace("9.0", "9" * 5000), FAR
     if sys.version_info < (3, 10, 7) else NOT_JSON),
    ("nested beyond Python", '{"id": 1, "image_id": 1, "segmentation": ' + nested(200_000) + "}",
     NOT_JSON),
    ("nested beyond numpy", '{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [['
     + ", ".join([nested(100)] * 6) + "]]}", NOT_FLAT),
    ("an id of text that UTF-8 cannot hold",
     '{"id": "\\ud800", "image_id": 1, "category_id": 1, "segmentation": 5}',
     "segmentation is a int, expected polygons or RLE"),
    ("an id that is a nested list", '{"id": ' + nested(200)
     + ', "image_id": 1, "category_id": 1, "segmentation": {"size": []}}', RLE_KEYS),
    ("a list", '[{"image_id": 1}]', "annotation is not an object"),
    ("an image_id in disguise beside one that is nested",
     json.dumps({**SEGMENTED, "image_id": 5, "attributes": {"image_id": 1}})
     .replace('"image_id": 5', '"image\\u005fid": 5'), NO_IMAGE),
]  # fmt: skip

# What the annotation file cannot even ascribe to the image, and what it says of it.
NOT_OF_THE_IMAGE: list[tuple[str, str, str]] = [
    ("image missing", '{"id": 1, "category_id": 1, "segmentation": []}', NO_IMAGE),
    ("image null", json.dumps({**SEGMENTED, "image_id": None}), NO_IMAGE),
    ("image true", json.dumps({**SEGMENTED, "image_id": True}), NO_IMAGE),
    ("image a list", json.dumps({**SEGMENTED, "image_id": [1]}), NO_IMAGE),
    ("image nan", json.dumps({**SEGMENTED, "image_id": NAN}), NO_IMAGE),
    ("image empty text", json.dumps({**SEGMENTED, "image_id": ""}), NO_IMAGE),
    ("image unknown", json.dumps({**SEGMENTED, "image_id": 5}),
     "annotation of an image that is not listed"),
    ("null", "null", "annotation is not an object"),
    ("a number", "5", "annotation is not an object"),
    ("a text", '"annotation"', "annotation is not an object"),
]  # fmt: skip

TABLE = [
    *((f"segmentation: {what}", json.dumps({**SEGMENTED, "segmentation": value}), reason)
      for what, value, reason in SEGMENTATIONS),
    *ANNOTATIONS,
]  # fmt: skip

GOOD = {**SEGMENTED, "id": 7, "category_id": 3, "segmentation": [box_polygon(5, 5, 20, 20)]}
GOOD_LABEL_MAP = rectangle(5, 5, 20, 20) * GROUPS.names.index("vehicles")
CATEGORIES = {1: "person", 3: "car"}
IMAGE = ImageEntry(1, "a.jpg", HEIGHT, WIDTH)
RULES = Rules(GROUPS, (CATEGORIES,), "priority", "paint")


def test_the_table_is_long() -> None:
    assert len(TABLE) >= 80
    assert len({text for _, text, _ in TABLE}) == len(TABLE)


@pytest.mark.parametrize(("text", "reason"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_a_bad_annotation_is_skipped_alone_with_its_reason(text: str, reason: str) -> None:
    good = json.dumps(GOOD).encode()
    started = time.process_time()
    label_map, account = draw_label_map(IMAGE, [text.encode(), good, text.encode()], RULES)
    assert time.process_time() - started < 1
    assert account.skipped_annotations.by_reason == {reason: 2}
    assert [item["reason"] for item in account.skipped_annotations.items] == [reason, reason]
    assert np.array_equal(label_map, GOOD_LABEL_MAP)
    json.dumps(account.to_stamp(), allow_nan=False).encode()


@pytest.mark.parametrize("cut", range(1, 100, 7))
def test_an_annotation_cut_short_is_skipped_alone(cut: int) -> None:
    text = json.dumps(SEGMENTED).encode()
    label_map, account = draw_label_map(IMAGE, [text[:-cut], json.dumps(GOOD).encode()], RULES)
    assert account.skipped_annotations.by_reason == {NOT_JSON: 1}
    assert np.array_equal(label_map, GOOD_LABEL_MAP)


@pytest.mark.parametrize("data", [b"", b"\xff", b'{"id": "\xff"}', b"\0", b"null", b"1", b"[]"])
def test_bytes_that_are_no_annotation_are_skipped_alone(data: bytes) -> None:
    label_map, account = draw_label_map(IMAGE, [data, json.dumps(GOOD).encode()], RULES)
    assert account.skipped_annotations.by_reason.keys() <= {NOT_JSON, "annotation is not an object"}
    assert account.skipped_annotations.by_reason.total() == 1
    assert np.array_equal(label_map, GOOD_LABEL_MAP)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([], FEW), ([1, 2, 3, 4], FEW), ([1, 2, 3, 4, 5], ODD), ([NAN] * 6, FAR),
        ([1e9] * 6, FAR), (None, "polygon is a NoneType, expected [x1, y1, x2, y2, ...]"),
        ([None] * 6, NOT_FLAT), (5, NO_LIST),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1])
def test_a_bad_polygon_is_dropped_from_among_good_ones(bad: Any, reason: str, place: int) -> None:
    polygons: list[Any] = [*GOOD["segmentation"]]
    polygons.insert(place, bad)
    record = json.dumps({**GOOD, "segmentation": polygons}).encode()
    label_map, account = draw_label_map(IMAGE, [record], RULES)
    assert (account.skipped_annotations.by_reason, account.dropped_polygons.by_reason) == (
        {},
        {reason: 1},
    )
    assert [i["annotation"] for i in account.dropped_polygons.items] == ["7"]
    assert np.array_equal(label_map, GOOD_LABEL_MAP)


@pytest.mark.parametrize(
    "changes",
    [
        {"iscrowd": None}, {"iscrowd": "yes"}, {"iscrowd": []}, {"iscrowd": NAN}, {"area": NAN},
        {"area": "x"}, {"bbox": None}, {"bbox": "x"}, {"id": None}, {"id": NAN}, {"id": {}},
        {"category_id": "3"}, {"category_id": 3.0}, {"image_id": "1"}, {"image_id": 1.0},
        {"unknown": {"image_id": 5}},
    ],
)  # fmt: skip
def test_what_does_not_matter_for_the_region_may_be_anything(changes: dict[str, Any]) -> None:
    label_map, account = draw_label_map(IMAGE, [json.dumps({**GOOD, **changes}).encode()], RULES)
    assert (account.skipped_annotations.by_reason, account.dropped_polygons.by_reason) == ({}, {})
    assert np.array_equal(label_map, GOOD_LABEL_MAP)


def test_no_bad_annotation_ends_the_interpreter_and_all_are_counted(tmp_path: Path) -> None:
    data = {
        "images": [
            {"id": id, "file_name": f"{id}.jpg", "height": HEIGHT, "width": WIDTH} for id in (1, 2)
        ],
        "annotations": [],
        "categories": [{"id": id, "name": name} for id, name in CATEGORIES.items()],
    }
    annotations_file = write_coco(tmp_path, data)
    good = json.dumps(GOOD)
    rows = [text for _, text, _ in (*TABLE, *NOT_OF_THE_IMAGE)]
    listed = ", ".join([good, *rows, json.dumps({**GOOD, "image_id": 2})])
    text = annotations_file.read_text()
    annotations_file.write_text(text.replace('"annotations": []', f'"annotations": [{listed}]'))

    root = Path(__file__).parents[1]
    command = [sys.executable, str(root / "generate_masks.py"), "--workers", "1"]
    command += ["--images_dir", str(tmp_path / "train2017"), "--output_dir", str(tmp_path / "m")]
    command += ["--annotations_file", str(annotations_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr

    report = json.loads((tmp_path / "m" / "masks.json").read_text())
    expected = Counter(reason for _, _, reason in TABLE)
    assert report["skipped_annotations"]["by_reason"] == expected
    assert report["skipped_annotations"]["count"] == len(TABLE)
    assert report["file_remarks"] == Counter(reason for _, _, reason in NOT_OF_THE_IMAGE)
    for name in ("1.png", "2.png"):
        assert np.array_equal(read_mask(tmp_path / "m" / name), GOOD_LABEL_MAP)
