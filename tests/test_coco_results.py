"""results.json: what pycocotools makes of it is what the masks on disk say."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inference_command import make_run, mask_of, run, write_noise
from pycocotools.coco import COCO

from datasets.coco.results import COCO_IDS, category_ids, image_ids, write_coco_results
from datasets.label_sets import GROUPS, VOC, category_label_set


def test_results_load_in_pycocotools_and_decode_to_the_masks_on_disk(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run")
    photos = write_noise(tmp_path / "in", 4)
    (photos / "notes.txt").write_text("no picture")
    run(photos, run_dir, tmp_path / "out", "--coco_results")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tmp_path / "out" / "results_dataset.json")
        results = coco.loadRes(str(tmp_path / "out" / "results.json"))
    assert [category["name"] for category in coco.loadCats([1, 2])] == ["red", "sky"]
    assert len(coco.imgs) == 4
    for id, image in coco.imgs.items():
        label_map = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in results.imgToAnns[id]:
            region = results.annToMask(annotation).astype(bool)
            assert not label_map[region].any()
            label_map[region] = annotation["category_id"]
            assert annotation["area"] == region.sum()
            rows, columns = np.nonzero(region)
            assert list(annotation["bbox"]) == [
                *(columns.min(), rows.min()),
                *(np.ptp(columns) + 1, np.ptp(rows) + 1),
            ]
        assert np.array_equal(label_map, mask_of(tmp_path / "out", Path(image["file_name"]).stem))


def test_no_prediction_at_all_is_an_empty_list(tmp_path: Path) -> None:
    write_coco_results(tmp_path, [], GROUPS, workers=0)
    assert json.loads((tmp_path / "results.json").read_text()) == []


def test_results_that_pycocotools_cannot_load_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir, photos = make_run(tmp_path / "run"), write_noise(tmp_path / "in", 2)
    run(photos, run_dir, tmp_path / "some", "--coco_results")
    assert "cannot load" not in caplog.text
    run(photos, run_dir, tmp_path / "out", "--coco_results", "--min_confidence", 1)
    assert not mask_of(tmp_path / "out", "00").any()
    assert (
        "results.json is an empty list, since all is background; pycocotools cannot load it"
        in caplog.text
    )
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(IndexError):
        COCO(tmp_path / "out" / "results_dataset.json").loadRes(
            str(tmp_path / "out" / "results.json")
        )


def test_categories_have_cocos_own_ids_where_every_label_is_one(coco_dir: Path) -> None:
    data = json.loads((coco_dir / "annotations" / "instances_val2017.json").read_text())
    assert {category["name"]: category["id"] for category in data["categories"]} == COCO_IDS


def test_other_labels_have_their_index() -> None:
    assert category_ids(GROUPS) == list(range(1, 10))
    assert category_ids(category_label_set(["person", "toothbrush"])) == [1, 90]
    assert category_ids(category_label_set(["person", "dragon"])) == [1, 2]
    assert category_ids(VOC)[:3] == [5, 2, 16]  # aeroplane, bicycle, bird


def test_images_named_by_number_have_that_id() -> None:
    assert image_ids(["a/000000000139.jpg", "b/7.png"]) == [139, 7]
    assert image_ids(["1.jpg", "b/1.jpg"]) == [1, 2]
    assert image_ids(["12.jpg", "x.jpg"]) == [1, 2]
    assert image_ids(["²3.jpg"]) == [1]


@given(st.lists(st.text("01.ab", min_size=1, max_size=4)))
def test_no_two_images_share_an_id(names: list[str]) -> None:
    ids = image_ids(names)
    assert len(set(ids)) == len(names)
