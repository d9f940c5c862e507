"""The three commands after one another, as a person runs them, from another folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import HEIGHT, WIDTH, tiny_annotations, write_coco
from PIL import Image

ROOT = Path(__file__).parents[1]


def run(cwd: Path, command: str, *flags: str) -> str:
    """Run a command of this project; give what it says."""
    done = subprocess.run(
        [sys.executable, str(ROOT / command), *flags],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the three commands were run: coco/, runs/NAME/, predictions/."""
    folder = tmp_path_factory.mktemp("chain")
    for split in ("train", "val"):
        write_coco(folder / "coco", tiny_annotations(), split=f"{split}2017")
        run(
            *(folder, "generate_masks.py", "--images_dir", f"coco/{split}2017"),
            *("--annotations_file", f"coco/annotations/instances_{split}2017.json"),
            *("--output_dir", f"coco/masks_{split}"),
        )
    small = ["--features", "4", "8", "--image_size", "16", "--epochs", "1", "--workers", "0"]
    said = run(folder, "train.py", "--data_dir", "coco", *small)
    (run_dir,) = (folder / "runs").iterdir()
    assert f"runs/{run_dir.name}/predictions/epoch_0001.png" in said

    (folder / "coco" / "val2017" / "notes.txt").write_text("no photo")
    flags = ["--images_dir", "coco/val2017", "--output_dir", "predictions", "--workers", "0"]
    flags += ["--masks_dir", "coco/masks_val", "--side_by_side", "--save_probabilities"]
    flags += ["--coco_results", "--checkpoint", f"runs/{run_dir.name}"]
    run(folder, "inference.py", *flags)
    return folder


def test_annotations_become_masks_a_network_and_segmented_images(folder: Path) -> None:
    label_sets = [
        json.loads((folder / file).read_text())["label_set"]
        for file in ("coco/masks_train/masks.json", "predictions/predictions.json")
    ]
    assert label_sets[0] == label_sets[1]
    for name in ("overlaps", "encodings", "empty"):
        with Image.open(folder / "coco" / "masks_val" / f"{name}.png") as truth:
            palette = truth.getpalette()
        with Image.open(folder / "predictions" / "masks" / f"{name}.png") as mask:
            assert (mask.mode, mask.size, mask.getpalette()) == ("P", (WIDTH, HEIGHT), palette)
            assert np.asarray(mask).max() < 10


def test_all_that_the_commands_write_stands_on_the_page_of_formats(folder: Path) -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL)))
    (run_dir,) = (folder / "runs").iterdir()
    masks_dir, predictions = folder / "coco" / "masks_train", folder / "predictions"

    files = {re.sub(r"tfevents\..*", "tfevents.*", path.name) for path in run_dir.iterdir()}
    files |= {f"{path.parent.name}/{path.name}" for path in run_dir.glob("predictions/*")}
    files |= {path.name for path in run_dir.glob("checkpoints/*")}
    files |= {path.name for path in masks_dir.iterdir() if path.suffix != ".png"}
    files |= {path.name for path in predictions.glob("*.*")}
    files |= {f"{path.parent.name}/a/b{path.suffix}" for path in predictions.glob("*/*")}
    assert {file.replace("0001", "0010") for file in files - {"checkpoints", "predictions"}} <= told

    entries = json.loads((predictions / "predictions.json").read_text())["images"]
    keys = {key for entry in entries for key in entry}
    for report in (masks_dir / "masks.json", predictions / "predictions.json"):
        keys |= json.loads(report.read_text()).keys()
    assert keys <= told
