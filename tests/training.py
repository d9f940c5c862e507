"""Tiny training runs for the tests: data, the command, what it left behind."""

from __future__ import annotations

import csv
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import train
from models.checkpoint import load_checkpoint

ROOT = Path(train.__file__).parent
CLOCKED = ("images_per_second", "data_wait")
TINY = ["--image_size", "16", "--batch_size", "4", "--workers", "0"]
SMALL = ["--features", "4", "8", *TINY]


def write_data(folder: Path) -> Path:
    """12 and 5 images of 20 x 30 with a red and a green rectangle, and plain masks."""
    chance = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    colors = np.array([[30, 60, 90], [200, 40, 40], [60, 220, 80]], np.uint8)
    for split, number in (("train", 12), ("val", 5)):
        for name in (f"{split}2017", f"masks_{split}"):
            (folder / name).mkdir()
        for i in range(number):
            mask = np.zeros((20, 30), np.uint8)
            top, left = chance.integers(0, 8, 2)
            mask[top : top + 8, left : left + 10] = 1
            mask[top + 3 : top + 11, left + 5 : left + 15] = 2
            pixels = colors[mask] + chance.integers(0, 30, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{split}2017" / f"{i}.png")
            Image.fromarray(mask).save(folder / f"masks_{split}" / f"{i}.png")
    return folder


def run(data_dir: Path, run_dir: Path, *flags: str) -> dict[str, Any]:
    """Train; give the last checkpoint."""
    arguments = ["--data_dir", str(data_dir), "--run_dir", str(run_dir)]
    arguments += [*(TINY if "--encoder" in flags else SMALL), *flags]
    assert train.main(arguments) == 0
    return load_checkpoint(run_dir / "checkpoints" / "last.pt")


def wait_for_step(run_dir: Path, process: subprocess.Popen[Any]) -> None:
    """Until the run that ``process`` trains has a checkpoint of a step, or the process ended."""
    path = run_dir / "checkpoints" / "last.pt"
    while process.poll() is None:
        if path.exists() and any(load_checkpoint(path)[key] for key in ("epoch", "step")):
            return
        time.sleep(0.005)


def metrics(run_dir: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, but for the columns that no two runs share."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: row[name] for name in row if name not in CLOCKED} for row in rows]


def same(left: Any, right: Any) -> bool:
    """Equal to the last bit, tensors in dicts and lists included."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)
