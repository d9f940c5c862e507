"""What earlier versions made is still up to date, loads, and means the same.

made_before/ holds what the commit dbecd1f (2026-11-25) made of the dataset in conftest.py: masks by
group and by category, a run after its first epoch, and the masks that it predicted with --amp off.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_annotations, write_coco
from inference_command import run as predict
from mask_command import files, run
from PIL import Image

import train

MADE = Path(__file__).parent / "made_before"


@pytest.mark.parametrize(
    ("name", "flags"),
    [("masks_groups", []), ("masks_categories", ["--no_grouping", "--png_mode", "gray"])],
)
def test_made_masks_are_up_to_date_and_new_ones_have_the_same_pixels(
    tiny_coco: Path, capsys: pytest.CaptureFixture[str], name: str, flags: list[str]
) -> None:
    made = tiny_coco / "made"
    shutil.copytree(MADE / name, made)
    assert run(tiny_coco, "--output_dir", made, *flags) == 0
    assert "0 masks written, 3 kept as up to date" in capsys.readouterr().out
    assert {k: v for k, v in files(made).items() if k.endswith(".png")} == {
        k: v for k, v in files(MADE / name).items() if k.endswith(".png")
    }
    assert run(tiny_coco, "--output_dir", tiny_coco / "new", *flags) == 0
    for path in MADE.joinpath(name).glob("*.png"):
        with Image.open(path) as old, Image.open(tiny_coco / "new" / path.name) as new:
            assert old.mode == new.mode and old.getpalette() == new.getpalette()
            assert np.array_equal(old, new)


def test_an_old_checkpoint_predicts_the_same(tiny_coco: Path) -> None:
    last = MADE / "run" / "checkpoints" / "last.pt"
    predict(tiny_coco / "train2017", last, tiny_coco / "out", "--amp", "off")
    for path in (MADE / "predicted").glob("*.png"):
        with Image.open(path) as old, Image.open(tiny_coco / "out" / "masks" / path.name) as new:
            # Another version of libjpeg may decode a pixel by one level otherwise.
            assert (np.array(old) == np.array(new)).mean() > 0.98
            assert old.getpalette() == new.getpalette()


def test_an_old_run_goes_on(tmp_path: Path) -> None:
    write_coco(tmp_path, tiny_annotations())
    shutil.copytree(MADE, tmp_path / "made")
    shutil.copytree(tmp_path / "train2017", tmp_path / "val2017")
    for split in ("train", "val"):
        shutil.copytree(MADE / "masks_groups", tmp_path / f"masks_{split}")
    run_dir = tmp_path / "made" / "run"
    flags = ["--resume", str(run_dir), "--data_dir", str(tmp_path), "--epochs", "2"]
    assert train.main(flags) == 0
    rows = (run_dir / "metrics.csv").read_text().splitlines()
    old = (MADE / "run" / "metrics.csv").read_text().splitlines()
    assert rows[:2] == old and [row.split(",")[0] for row in rows[2:]] == ["2"]
    assert json.loads((run_dir / "report.json").read_text())["best_epoch"] in (1, 2)
