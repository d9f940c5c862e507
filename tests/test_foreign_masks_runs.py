"""Masks of other tools all the way: trained on, resumed, predicted, scored, as COCO results."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from inference_command import arguments, error_of
from PIL import Image

import inference
import train
from datasets.visualize import overlay
from models.checkpoint import load_checkpoint

NAMES = ("sky", "road", "car")
STREET = {
    "name": "street",
    "labels": [{"name": name, "values": [value]} for value, name in enumerate(NAMES)],
    "ignore": [3],
}
FLAGS = "--features 4 8 --image_size 16 --epochs 1 --workers 0 --batch_size 4"


def write_street(folder: Path) -> Path:
    """A data folder of eight and four pairs: thirds of sky, road and car, one row of 3, void."""
    label_map = np.repeat(np.arange(3, dtype=np.uint8), 8)[:, None].repeat(20, axis=1)
    label_map[-1] = 3
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        images, masks = folder / f"{split}2017", folder / f"masks_{split}"
        images.mkdir(parents=True)
        masks.mkdir()
        for number in range(count):
            pixels = rng.integers(0, 256, (*label_map.shape, 3), np.uint8)
            Image.fromarray(pixels).save(images / f"{number}.png")
            Image.fromarray(label_map).save(masks / f"{number}.png")
    (folder / "street.json").write_text(json.dumps(STREET))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_street(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run_dir(data: Path) -> Path:
    words = ["--data_dir", data, "--label_set", data / "street.json", "--run_dir", data / "run"]
    assert train.main([*map(str, words), *FLAGS.split()]) == 0
    return data / "run"


def predict(data: Path, run_dir: Path, out: Path, *flags: object) -> None:
    assert inference.main(arguments(data / "val2017", run_dir, out, *flags)) == 0


def test_no_label_is_called_background_and_none_is_left_out(run_dir: Path) -> None:
    report = json.loads((run_dir / "report.json").read_text())["val"]
    assert [label["name"] for label in report["labels"]] == list(NAMES)
    assert [label["true_pixels"] for label in report["labels"]] != [0, 0, 0]
    assert {"mean_without_background", "background_everywhere"}.isdisjoint(report)
    with (run_dir / "metrics.csv").open(newline="") as file:
        assert not any("background" in column for column in next(csv.reader(file)))


def test_the_checkpoint_carries_names_values_and_what_is_ignored(run_dir: Path) -> None:
    label_set = load_checkpoint(run_dir / "checkpoints/best.pt")["label_set"]
    assert [(label["name"], label["values"]) for label in label_set["labels"]] == [
        ("sky", [0]),
        ("road", [1]),
        ("car", [2]),
    ]
    assert label_set["ignore"] == [3]


def test_a_run_goes_on_without_the_file_that_described_its_masks(data: Path, run_dir: Path) -> None:
    (data / "street.json").rename(data / "moved.json")
    assert train.main(["--resume", str(run_dir), "--epochs", "2"]) == 0
    assert train.main(["--eval_only", str(run_dir)]) == 0
    (data / "moved.json").rename(data / "street.json")


def test_scores_are_of_the_described_labels(
    data: Path, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, flags in enumerate(([], ["--label_set", data / "street.json"])):
        out = tmp_path / str(number)
        predict(data, run_dir, out, "--masks_dir", data / "masks_val", *flags, "--coco_results")
        scores = json.loads((out / "scores.json").read_text())
        counts = {label["name"]: label["true_pixels"] for label in scores["labels"]}
        assert counts == {"sky": 4 * 8 * 20, "road": 4 * 8 * 20, "car": 4 * 7 * 20}
        assert scores["ignored_share"] == pytest.approx(1 / 24)
        assert "mean_without_background" not in scores
        results = json.loads((out / "results.json").read_text())
        shown = {result["category_id"] for result in results}
        categories = json.loads((out / "results_dataset.json").read_text())["categories"]
        assert [(c["id"], c["name"]) for c in categories] == list(enumerate(NAMES))
        report = json.loads((out / "predictions.json").read_text())
        shares = [entry["label_shares"] for entry in report["images"]]
        assert shown == {i for i, name in enumerate(NAMES) if any(s[name] for s in shares)}


def test_a_network_without_background_takes_no_least_confidence(
    data: Path, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(data / "val2017", run_dir, tmp_path / "out", "--min_confidence", 0.5)
    assert "this network has none: its labels are sky, road, car" in error_of(capsys, *words)
    assert not (tmp_path / "out").exists()


def test_without_background_label_0_is_tinted_and_outlined() -> None:
    image, label_map = np.full((9, 9, 3), 100, np.uint8), np.zeros((9, 9), np.uint8)
    label_map[:, 5:] = 1
    palette = [200, 0, 0, 0, 200, 0, *[0] * 762]
    assert (overlay(image, label_map, palette)[:, :4] == 100).all()
    tinted = overlay(image, label_map, palette, background=False)
    assert (tinted[:, :3] == (150, 50, 50)).all()
    assert (tinted[:, 4] == (200, 0, 0)).all()
