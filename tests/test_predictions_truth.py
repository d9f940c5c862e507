"""Masks to score against: what their masks.json says of them is heeded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from inference_command import LABELS
from PIL import Image

from datasets.label_mapping import FORMAT_VERSION, mapping_to_labels_of


def write_masks(folder: Path, **changes: Any) -> Path:
    Image.new("L", (3, 2)).save(folder / "a.png")
    report = {"format_version": 1, "complete": True, "label_set": LABELS.to_dict(), **changes}
    (folder / "masks.json").write_text(json.dumps(report))
    return folder


def labels_to_score(folder: Path, **changes: Any) -> None:
    mapping_to_labels_of(write_masks(folder, **changes), {"label_set": LABELS.to_dict()})


def test_masks_of_a_finished_run_are_taken_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels_to_score(tmp_path)
    assert caplog.text == ""


def test_masks_of_a_run_that_did_not_finish_are_remarked_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels_to_score(tmp_path, complete=False)
    told = "masks.json: the run that made these masks did not finish; run it again"
    assert caplog.messages == [f"{tmp_path / told}"]


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, "1", None])
def test_masks_of_another_format_are_refused(tmp_path: Path, version: object) -> None:
    with pytest.raises(ValueError, match=r"masks\.json: not a mask report of generate_masks\.py"):
        labels_to_score(tmp_path, format_version=version)
