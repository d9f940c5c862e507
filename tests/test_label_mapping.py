import json
from pathlib import Path

import numpy as np
import pytest
from pair_folders import mapping_of
from PIL import Image

from datasets.label_mapping import (
    LabelMapping,
    mapping_of_folder,
    mapping_of_values,
    read_label_map,
)
from datasets.label_sets import GROUPS
from datasets.labels import IGNORE_INDEX


def save_mask(path: Path, rows: list[list[int]]) -> Path:
    Image.fromarray(np.array(rows, np.uint8)).save(path)
    return path


def test_masks_json_gives_the_mapping(tmp_path: Path) -> None:
    report = {"format_version": 1, "complete": True, "label_set": GROUPS.to_dict()}
    (tmp_path / "masks.json").write_text(json.dumps(report))
    mapping = mapping_of_folder(tmp_path)
    assert mapping == LabelMapping.of_labels(GROUPS)


def test_without_masks_json_the_values_found_become_labels(tmp_path: Path) -> None:
    assert mapping_of_folder(tmp_path) is None
    mapping = mapping_of_values(tmp_path, [0, 25, 75, 255])
    assert mapping.values == (0, 25, 75)
    assert mapping.label_set.names == ("background", "value 25", "value 75")


def test_255_is_the_object_where_0_is_the_only_other_value(tmp_path: Path) -> None:
    mask = save_mask(tmp_path / "a.png", [[0, 255]])
    mapping = mapping_of_values(tmp_path, [0, 255])
    assert mapping.values == (0, 255)
    assert read_label_map(mask, mapping).tolist() == [[0, 1]]


def test_255_is_ignored_beside_other_values(tmp_path: Path) -> None:
    mask = save_mask(tmp_path / "a.png", [[0, 255, 50]])
    mapping = mapping_of_values(tmp_path, [0, 50, 255])
    label_map = read_label_map(mask, mapping)
    assert label_map.tolist() == [[0, IGNORE_INDEX, 1]]
    assert label_map.dtype == np.uint8


def test_masks_of_one_value_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        mapping_of_values(tmp_path, [0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a mask report"),
        ("[]", "not a mask report"),
        ("{}", "not a mask report"),
        ('{"format_version": 99, "label_set": {}}', "format version 99, expected at most"),
        ('{"format_version": 1, "label_set": {"name": "x"}}', "not a label set"),
    ],
)
def test_a_foreign_masks_json_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "masks.json").write_text(text)
    with pytest.raises(ValueError, match=f"masks.json: .*{message}"):
        mapping_of_folder(tmp_path)


def test_an_unfinished_run_of_generate_masks_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = {"format_version": 1, "complete": False, "label_set": GROUPS.to_dict()}
    (tmp_path / "masks.json").write_text(json.dumps(report))
    mapping_of_folder(tmp_path)
    assert "did not finish" in caplog.text


def test_an_unknown_value_is_an_error_that_names_file_and_value(tmp_path: Path) -> None:
    mask = save_mask(tmp_path / "odd.png", [[0, 7], [25, 9]])
    with pytest.raises(
        ValueError, match=r"odd\.png: pixel value 7, 9 is no label; known are 0, 25"
    ):
        read_label_map(mask, mapping_of(0, 25))
