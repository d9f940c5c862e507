"""inference.py on the real photographs that COCO_DIR holds, against slow loops in plain PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from inference_command import files, image_tensor, mask_of, plain_model, run
from torch import Tensor
from torch.nn import functional as F

import generate_masks
import inference
from datasets.label_sets import GROUPS
from datasets.labels import IGNORE_INDEX
from datasets.mask_files import read_mask
from metrics.confusion_matrix import ConfusionMatrix
from metrics.scores import report_dict
from models import build_model
from models.checkpoint import save_checkpoint
from models.prediction import View

SIZE = 64


@pytest.fixture(scope="module")
def photos(coco_dir: Path) -> Path:
    folder = coco_dir / "val2017"
    if len(list(folder.iterdir())) > 1000:
        pytest.skip("COCO_DIR holds the whole dataset; this test is for a subset")
    return folder


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A small network whose batch norm has seen some of the photos."""
    folder = tmp_path_factory.mktemp("run") / "run"
    (folder / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    kwargs = {"num_labels": len(GROUPS), "features": [8, 16, 32], "dropout": 0.0}
    model = build_model("residual_attention_unet", **kwargs)
    some = [View.of(SIZE)(image_tensor(path)) for path in sorted(photos.iterdir())[:16]]
    with torch.no_grad():
        for _ in range(5):
            model(torch.stack(some))
    checkpoint = {
        "model": {"name": "residual_attention_unet", "kwargs": kwargs},
        "model_state": model.state_dict(),
        "label_set": GROUPS.to_dict(),
        "image_size": SIZE,
    }
    save_checkpoint(folder / "checkpoints" / "best.pt", checkpoint)
    return folder


@torch.no_grad()
def predicted(
    run_dir: Path, image: Tensor, tile: int | None = None, *, flip: bool = False
) -> Tensor:
    """(H, W) labels of one image, by all its logits at full size, float32, one thread."""
    _, height, width = image.shape
    network = plain_model(run_dir)

    def logits(crop: Tensor) -> Tensor:
        small = View.of(SIZE)(crop)[None]
        scores = network(small)
        if flip:
            scores = (scores + network(small.flip(-1)).flip(-1)) / 2
        return F.interpolate(scores, crop.shape[1:], mode="bilinear", align_corners=False)[0]

    if tile is None:
        return logits(image).argmax(0)
    h, w = min(tile, height), min(tile, width)
    tops, lefts = (places(length, size) for length, size in ((height, h), (width, w)))
    window = hann(h)[:, None] * hann(w)
    total, weights = torch.zeros(len(GROUPS), height, width).double(), torch.zeros(height, width)
    for top in tops:
        for left in lefts:
            part = (slice(top, top + h), slice(left, left + w))
            total[:, part[0], part[1]] += window * logits(image[:, part[0], part[1]])
            weights[part] += window
    return (total / weights).argmax(0)


def places(length: int, size: int) -> list[int]:
    """Starts of tiles that overlap by a quarter, or a little more."""
    steps = -(-(length - size) // (size * 3 // 4))
    return [(length - size) * step // steps for step in range(steps + 1)] if steps else [0]


def hann(size: int) -> Tensor:
    return (torch.pi * (torch.arange(size).double() + 0.5) / size).sin() ** 2


def test_scores_equal_a_plain_loop_to_the_last_bit(
    photos: Path, coco_dir: Path, run_dir: Path, tmp_path: Path
) -> None:
    annotations = coco_dir / "annotations" / "instances_val2017.json"
    words = ["--images_dir", photos, "--annotations_file", annotations, "--output_dir"]
    assert generate_masks.main([*map(str, words), str(tmp_path / "masks")]) == 0
    flags = ["--masks_dir", tmp_path / "masks", "--amp", "off", "--workers", 2]
    run(photos, run_dir, tmp_path / "out", *flags)
    confusion = ConfusionMatrix(len(GROUPS), IGNORE_INDEX)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    paths = sorted(photos.iterdir())
    for path in paths:
        label_map = predicted(run_dir, image_tensor(path))
        assert torch.equal(torch.from_numpy(mask_of(tmp_path / "out", path.stem)).long(), label_map)
        truth = read_mask(tmp_path / "masks" / f"{path.stem}.png")
        confusion.update(torch.from_numpy(truth), label_map)
    torch.set_num_threads(threads)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    expected = report_dict(confusion.counts, GROUPS.names)
    assert {key: scores[key] for key in expected} == expected
    assert scores["images"] == len(paths)

    parts = tmp_path / "parts"
    flags = flags[:-2]
    for index in (1, 2, 3):
        words = ["--images_dir", photos, "--checkpoint", run_dir, "--output_dir", parts, *flags]
        assert inference.main([*map(str, words), "--shard", f"{index}/3"]) == 0
    run(photos, run_dir, parts, *flags, "--merge_reports")
    assert files(parts) == files(tmp_path / "out")


@pytest.mark.parametrize(
    ("flags", "options", "exact"),
    [(["--tta"], {"flip": True}, True), (["--tile", "200"], {"tile": 200}, False)],
)
def test_flips_and_tiles_equal_a_plain_loop(
    photos: Path,
    run_dir: Path,
    tmp_path: Path,
    flags: list[str],
    options: dict[str, object],
    exact: bool,
) -> None:
    paths = sorted(photos.iterdir())[:12]
    (tmp_path / "list").write_text("".join(f"{path.name}\n" for path in paths))
    run(photos, run_dir, tmp_path / "out", "--list", tmp_path / "list", "--amp", "off", *flags)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for path in paths:
        expected = predicted(run_dir, image_tensor(path), **options)  # type: ignore[arg-type]
        different = (torch.from_numpy(mask_of(tmp_path / "out", path.stem)) != expected).sum()
        assert different <= (0 if exact else 3)  # of rounded sums, ties may fall otherwise
    torch.set_num_threads(threads)
