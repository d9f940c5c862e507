"""The three commands after one another, as a person runs them, from another folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
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


def test_annotations_become_masks_a_network_and_segmented_images(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_coco(tmp_path / "coco", tiny_annotations(), split=f"{split}2017")
        run(
            *(tmp_path, "generate_masks.py", "--images_dir", f"coco/{split}2017"),
            *("--annotations_file", f"coco/annotations/instances_{split}2017.json"),
            *("--output_dir", f"coco/masks_{split}"),
        )
    small = ["--features", "4", "8", "--image_size", "16", "--epochs", "1", "--workers", "0"]
    said = run(tmp_path, "train.py", "--data_dir", "coco", *small)
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert f"runs/{run_dir.name}/predictions/epoch_0001.png" in said

    flags = ["--images_dir", "coco/val2017", "--output_dir", "predictions", "--workers", "0"]
    run(tmp_path, "inference.py", "--checkpoint", f"runs/{run_dir.name}", *flags)
    label_sets = [
        json.loads((tmp_path / file).read_text())["label_set"]
        for file in ("coco/masks_train/masks.json", "predictions/predictions.json")
    ]
    assert label_sets[0] == label_sets[1]
    for name in ("overlaps", "encodings", "empty"):
        with Image.open(tmp_path / "coco" / "masks_val" / f"{name}.png") as truth:
            palette = truth.getpalette()
        with Image.open(tmp_path / "predictions" / "masks" / f"{name}.png") as mask:
            assert (mask.mode, mask.size, mask.getpalette()) == ("P", (WIDTH, HEIGHT), palette)
            assert np.asarray(mask).max() < 10
