"""inference.py run on a few small photos, for the tests that meet it as its user."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import inference
from datasets.labels import Label, LabelSet
from models import build_model
from models.checkpoint import load_checkpoint, model_from_checkpoint, save_checkpoint
from models.prediction import View

LABELS = LabelSet(
    "three",
    (
        Label("background", (0, 0, 0)),
        Label("red", (255, 0, 0), categories=("person",)),
        Label("sky", (0, 9, 255), categories=("car", "bus")),
    ),
)
SIZE = 16


def make_run(folder: Path, seed: int = 1) -> Path:
    """A run folder whose best.pt gives every label some pixels of a photo of noise."""
    (folder / "checkpoints").mkdir(parents=True)
    torch.manual_seed(seed)
    kwargs = {"num_labels": 3, "features": [4, 8], "dropout": 0.0}
    model = build_model("residual_attention_unet", **kwargs)
    model(torch.rand(8, 3, SIZE, SIZE))
    checkpoint = {
        "model": {"name": "residual_attention_unet", "kwargs": kwargs},
        "model_state": model.state_dict(),
        "label_set": LABELS.to_dict(),
        "image_size": SIZE,
    }
    save_checkpoint(folder / "checkpoints" / "best.pt", checkpoint)
    return folder


def noise(height: int, width: int, *channels: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, *channels), np.uint8)
    return Image.fromarray(pixels)


def write_noise(folder: Path, count: int, height: int = 20, width: int = 26) -> Path:
    """A folder of photos 00.png, 01.png, ..., all different."""
    folder.mkdir(parents=True)
    for number in range(count):
        noise(height, width + number % 3, 3, seed=number).save(folder / f"{number:02}.png")
    return folder


def arguments(photos: Path, run_dir: Path, output_dir: Path, *flags: object) -> list[str]:
    paths = ["--images_dir", photos, "--checkpoint", run_dir, "--output_dir", output_dir]
    return [str(word) for word in [*paths, "--workers", 0, *flags]]


def run(photos: Path, run_dir: Path, out: Path, *flags: object, code: int = 0) -> dict[str, Any]:
    """Predict in this process; the report."""
    assert inference.main(arguments(photos, run_dir, out, *flags)) == code
    report: dict[str, Any] = json.loads((out / "predictions.json").read_text())
    return report


def error_of(capsys: pytest.CaptureFixture[str], *words: object, code: int = 2) -> str:
    """Run a command that must fail; what it says last."""
    try:
        ended = inference.main([*map(str, words)])
    except SystemExit as stop:  # argparse
        ended = int(stop.code or 0)
    assert ended == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.splitlines()[-1]


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {entry["file"]: entry["status"] for entry in report["images"]}


def mask_of(out: Path, name: str) -> np.ndarray:
    with Image.open(out / "masks" / f"{name}.png") as mask:
        return np.array(mask)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder: name -> content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@cache
def plain_model(run_dir: Path) -> nn.Module:
    return model_from_checkpoint(load_checkpoint(run_dir / "checkpoints" / "best.pt"))


@torch.no_grad()
def plain_logits(run_dir: Path, image: Tensor, image_size: int | tuple[int, int] = SIZE) -> Tensor:
    """What plain PyTorch computes of one image (3, H, W), on one thread: (C, H, W)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    logits = plain_model(run_dir)(View.of(image_size)(image)[None])
    enlarged = F.interpolate(logits, image.shape[1:], mode="bilinear", align_corners=False)
    torch.set_num_threads(threads)
    return enlarged[0]


def image_tensor(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
