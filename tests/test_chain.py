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

from datasets.label_sets import GROUPS

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
    """The three commands were run here: coco_dataset/, runs/NAME/, predictions/, said.txt."""
    folder, said = tmp_path_factory.mktemp("chain"), ""
    for split in ("train", "val"):
        write_coco(folder / "coco_dataset", tiny_annotations(), split=f"{split}2017")
        said += run(
            *(folder, "generate_masks.py", "--images_dir", f"coco_dataset/{split}2017"),
            *("--annotations_file", f"coco_dataset/annotations/instances_{split}2017.json"),
            *("--output_dir", f"coco_dataset/masks_{split}"),
        )
    small = ["--features", "4", "8", "--image_size", "16", "--epochs", "1", "--workers", "0"]
    said += run(folder, "train.py", "--data_dir", "coco_dataset", *small)
    (run_dir,) = (folder / "runs").iterdir()
    assert f"runs/{run_dir.name}/predictions/epoch_0001.png" in said

    (folder / "coco_dataset" / "val2017" / "notes.txt").write_text("no photo")
    flags = ["--images_dir", "coco_dataset/val2017", "--masks_dir", "coco_dataset/masks_val"]
    flags += ["--output_dir", "predictions", "--workers", "0"]
    flags += ["--side_by_side", "--save_probabilities", "--coco_results"]
    flags += ["--checkpoint", f"runs/{run_dir.name}"]
    said += run(folder, "inference.py", *flags)
    (folder / "said.txt").write_text(said)
    return folder


def test_annotations_become_masks_a_network_and_segmented_images(folder: Path) -> None:
    label_sets = [
        json.loads((folder / file).read_text())["label_set"]
        for file in ("coco_dataset/masks_train/masks.json", "predictions/predictions.json")
    ]
    assert label_sets[0] == label_sets[1]
    for name in ("overlaps", "encodings", "empty"):
        with Image.open(folder / "coco_dataset" / "masks_val" / f"{name}.png") as truth:
            palette = truth.getpalette()
        with Image.open(folder / "predictions" / "masks" / f"{name}.png") as mask:
            assert (mask.mode, mask.size, mask.getpalette()) == ("P", (WIDTH, HEIGHT), palette)
            assert np.asarray(mask).max() < 10


def test_all_that_the_commands_write_stands_on_the_page_of_formats(folder: Path) -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL)))
    (run_dir,) = (folder / "runs").iterdir()
    masks_dir, predictions = folder / "coco_dataset" / "masks_train", folder / "predictions"

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


def shape(line: str) -> str:
    """A line without its numbers, dates, labels and widths of columns."""
    names = "|".join(GROUPS.names)
    return " ".join(re.sub(rf"\b({names})\b", "label", re.sub(r"\d[\d.,_/-]*", "0", line)).split())


def test_the_readme_shows_what_the_commands_print(folder: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", readme, re.DOTALL)
    shown = [re.sub(r"^\$ (.*\\\n)*.*\n", "", block, flags=re.MULTILINE) for block in blocks]
    lines = [line.partition("...")[0] for block in shown for line in block.splitlines()]
    assert len(lines) > 20
    said = [shape(line) for line in (folder / "said.txt").read_text().splitlines()]
    for line in lines:
        assert any(each.startswith(shape(line)) for each in said), line
