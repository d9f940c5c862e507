"""train.py on real photographs: what a network that can learn must be able to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import generate_masks
import train


@pytest.mark.slow
def test_eight_photographs_can_be_learned_by_heart(coco_dir: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        flags = {
            "--images_dir": coco_dir / f"{split}2017",
            "--annotations_file": coco_dir / "annotations" / f"instances_{split}2017.json",
            "--output_dir": tmp_path / f"masks_{split}",
            "--max_images": 8,
        }
        assert generate_masks.main([str(part) for pair in flags.items() for part in pair]) == 0
    folders = [
        *("--train_images", str(coco_dir / "train2017"), "--train_masks"),
        *(str(tmp_path / "masks_train"), "--val_images", str(coco_dir / "val2017")),
        *("--val_masks", str(tmp_path / "masks_val"), "--run_dir", str(tmp_path / "run")),
    ]
    network = ["--image_size", "64", "--features", "16", "32", "64", "128"]
    recipe = ["--epochs", "250", "--lr", "3e-3", "--sampler", "shuffle", "--workers", "0"]
    assert train.main([*folders, *network, *recipe, "--cache", "disk"]) == 0
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/mean_iou")
    assert float(rows[-1].split(",")[column]) > 0.9
    assert json.loads((tmp_path / "run" / "report.json").read_text())["val"]["labels"]
