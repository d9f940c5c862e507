"""Files that draw nothing end with exit code 1 and say what they are; odd shapes are drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HEIGHT, WIDTH, box_polygon
from mask_command import edit, report, run
from oracles import annotation_region, drawable_parts

from datasets.mask_files import read_mask

FLAT = box_polygon(2, 2, 8, 8)
PAIRS = [FLAT[at : at + 2] for at in range(0, 8, 2)]
RLE = {"size": [HEIGHT, WIDTH], "counts": [5, 3, HEIGHT * WIDTH - 8]}


def region(segmentation: Any, height: int, width: int) -> np.ndarray:
    return annotation_region({"segmentation": segmentation}, height, width)


def every(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Change each annotation; a value of None removes the key."""

    def change(data: dict[str, Any]) -> None:
        for annotation in data["annotations"]:
            annotation.update(changes)
            for key in [key for key, value in changes.items() if value is None]:
                annotation.pop(key, None)

    return change


PANOPTIC = every(segmentation=None, category_id=None, segments_info=[{"id": 5}])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (PANOPTIC, "a panoptic annotation (segments_info), without segmentation: its regions"),
        (every(segmentation=None, category_id=None, segments_info=[]), "a panoptic annotation"),
        (every(segmentation=None, category_id=None, caption="A dog."), "a file of captions"),
        (every(segmentation=[], bbox=[1, 1, 5, 5], keypoints=[]), "box without segmentation: this"),
        (every(segmentation=None, bbox=None, keypoints=[1, 2, 2]), "a file of keypoints"),
        (every(segmentation=None, bbox=[1, 1, 5, 5]), "box without segmentation: this is a file"),
        (every(segmentation=[], bbox=[1, 1, 5, 5]), "box without segmentation: this is a file"),
        (every(segmentation=[[]], bbox=[1, 1, 5, 5]), "box without segmentation: this is a file"),
        (every(segmentation=[[[]]], bbox=[1, 1, 5, 5]), "box without segmentation: this is a file"),
        (every(segmentation=[[], []], bbox=[1, 1, 5, 5]), "box without segmentation: this is a"),
        (every(segmentation={}, bbox=None), "no segmentation: expected in each annotation"),
        (every(segmentation=[[1, 1, 9, 9]]), "fewer than 3 points: expected in each annotation"),
        (every(category_id=77), "category_id is not in the list of categories: expected"),
        (every(category_id=None), "category_id is not in the list of categories: expected"),
        (every(image_id=77), "belongs to an image that can be used (8 x annotation of an image "
         "that is not listed); an annotation's 'image_id' is the 'id' of an entry of 'images'"),
        (every(image_id=None), "annotation without an image_id"),
    ],
)  # fmt: skip
def test_a_file_of_which_nothing_is_drawn_ends_with_one_loud_line_and_code_1(
    tiny_coco: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[dict[str, Any]], None],
    words: str,
) -> None:
    edit(tiny_coco, change)
    assert run(tiny_coco) == 1
    assert caplog.records[-1].levelname == "ERROR"
    assert words in caplog.messages[-1] and "not one " in caplog.messages[-1]
    assert run(tiny_coco) == 1  # the masks are kept, and say it again
    assert words in caplog.messages[-1]


def test_no_annotations_and_none_of_the_chosen_images_are_no_failure(tiny_coco: Path) -> None:
    empty = next(i["id"] for i in json.loads(
        (tiny_coco / "annotations/instances_train2017.json").read_text()
    )["images"] if i["file_name"].startswith("empty"))  # fmt: skip
    (tiny_coco / "ids.txt").write_text(str(empty))
    assert run(tiny_coco, "--image_ids", tiny_coco / "ids.txt") == 0
    assert run(tiny_coco, "--image_ids", tiny_coco / "ids.txt", "--skip_empty") == 0
    edit(tiny_coco, lambda data: data["annotations"].clear())
    assert run(tiny_coco, "--overwrite") == 0


def test_images_that_all_fail_are_a_failure_with_the_most_frequent_reason(
    tiny_coco: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (tiny_coco / "train2017").iterdir():
        path.write_bytes(b"no picture")
    assert run(tiny_coco) == 1
    assert "no mask was made: all 3 images were skipped, 3 of them because" in caplog.messages[-1]


def test_shards_leave_the_verdict_to_the_merged_report(tiny_coco: Path) -> None:
    edit(tiny_coco, PANOPTIC)
    assert run(tiny_coco, "--shard", "1/2") == run(tiny_coco, "--shard", "2/2") == 0
    assert run(tiny_coco, "--merge_reports") == 1


def test_annotations_of_a_listed_image_that_cannot_be_used_are_told_as_such(
    tiny_coco: Path,
) -> None:
    edit(tiny_coco, lambda data: data["images"][0].pop("height"))
    assert run(tiny_coco) == 0
    (remark,) = report(tiny_coco)["file_remarks"]
    assert remark == "annotation of an image that is listed, but cannot be used"


def test_a_noticeable_share_of_boxes_is_told(
    tiny_coco: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = {"segmentation": [], "bbox": [1, 1, 5, 5]}
    edit(tiny_coco, lambda data: data["annotations"][0].update(box))
    assert run(tiny_coco) == 0
    assert "1 of 8 annotations (12%) are boxes without segmentation" in caplog.text


def square(left: float, top: float, side: float) -> list[list[float]]:
    return [box_polygon(left, top, left + side, top + side)]


@pytest.mark.parametrize(
    ("polygon", "words"),
    [
        (square(3.2 * WIDTH, 0, 20), "images 4 times as large would hold them"),
        (square(0, 1.5 * HEIGHT, 9), "images 2 times as large would hold them"),
        (square(-60, -60, 20), "8 of 8 annotations leave no pixel in their image"),
        (square(-30, -20, 5), "8 of 8 annotations leave no pixel in their image"),
        (square(0.2, 0.2, 0.6), "8 of 8 annotations have coordinates from 0 to 1 only"),
        (square(0, 0, 1), "8 of 8 annotations have coordinates from 0 to 1 only"),
        (square(0.1, 0.1, 0.1), "8 of 8 annotations have coordinates from 0 to 1 only"),
        (square(-0.01, 0, 1.02), "8 of 8 annotations have coordinates from 0 to 1 only"),
    ],
)
def test_coordinates_of_another_size_are_told_loudly(
    tiny_coco: Path, caplog: pytest.LogCaptureFixture, polygon: Any, words: str
) -> None:
    edit(tiny_coco, every(segmentation=polygon, category_id=1))
    assert run(tiny_coco) == 0
    assert words in caplog.messages[-1]
    found = report(tiny_coco)
    assert found["drawn"].get("person", 0) + found.get("empty", {}).get("person", 0) == 8
    shows = region(polygon, HEIGHT, WIDTH).any()
    assert ("empty" not in found) == shows
    caplog.clear()
    assert run(tiny_coco) == 0  # kept
    assert words in caplog.messages[-1] and report(tiny_coco) == found


def test_one_annotation_beside_its_image_is_counted_and_no_warning(
    tiny_coco: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = {"segmentation": square(500, 500, 9), "category_id": 1}
    edit(tiny_coco, lambda data: data["annotations"][0].update(outside))
    assert run(tiny_coco) == 0
    assert "without a pixel in their image: person 1 annotations" in capsys.readouterr().out
    assert "leave no pixel" not in caplog.text
    assert report(tiny_coco)["empty"] == {"person": 1}


@pytest.mark.parametrize(
    "shape",
    [
        FLAT, PAIRS, [PAIRS], [[FLAT]], [[[FLAT]]], [[PAIRS]], [FLAT, [[1, 2]]],
        [[2, 2], [8, 2], [8, 8]], [[[1, 1], [9, 1], [9, 9]], PAIRS], [RLE], [RLE, RLE],
        [RLE, {"size": [HEIGHT, WIDTH], "counts": [60, 9, HEIGHT * WIDTH - 69]}],
    ],
)  # fmt: skip
def test_shapes_that_can_be_read_in_one_way_are_drawn(tiny_coco: Path, shape: Any) -> None:
    edit(tiny_coco, lambda data: data.update(annotations=[
        {"id": 1, "image_id": data["images"][0]["id"], "category_id": 1, "segmentation": shape}
    ]))  # fmt: skip
    assert run(tiny_coco, "--binary") == 0
    first = min((tiny_coco / "masks").glob("*.png"), key=lambda path: not read_mask(path).any())
    expected = np.zeros((HEIGHT, WIDTH), bool)
    for part in drawable_parts(shape):
        expected |= region(part, HEIGHT, WIDTH)
    assert np.array_equal(read_mask(first), expected)
