"""A file and a row in a table add a loss, a network, ...: the commands need not know."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
import torch
from inference_command import files, make_run, write_noise
from inference_command import run as predict
from PIL import Image
from training import metrics, run, same, write_data

import inference
import losses
import models
import train
from datasets.predictions.outputs import OUTPUTS, Output
from datasets.training import choices
from datasets.training.augmentation import build_augment
from datasets.training.choices import Augmentation
from losses import Loss, Option
from metrics.scores import SCORES, Score
from models import Model
from runtime.command_line import at_least

# Python 3.12 and later warn that a process with threads is forked; PyTorch's loaders do that.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

FOCAL = """
from losses.simple import SimpleLoss


class Focal(SimpleLoss):
    def __init__(self, ignore_index, gamma):
        super().__init__(ignore_index)
        self.gamma = gamma

    def forward(self, logits, label_map):
        print("focal loss of gamma", self.gamma)
        return super().forward(logits, label_map) ** self.gamma


def build(label_pixels, ignore_index, gamma):
    return Focal(ignore_index, gamma)
"""


NETWORK = """
from torch import nn


class PixelByPixel(nn.Module):
    def __init__(self, num_labels, features):
        super().__init__()
        layers = [nn.Conv2d(3, features[0], 1), nn.ReLU(), nn.Conv2d(features[0], num_labels, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images):
        return self.layers(images.float() / 255)
"""

AUGMENTATION = """
import torch


class Blackout:
    def __init__(self, share):
        self.share = share

    def __call__(self, image, label_map, generator):
        black = torch.rand((), generator=generator) < self.share
        print("black" if black else "as it is")
        return (image * 0 if black else image), label_map
"""

CUTOUT = """
import numpy as np
from PIL import Image


def write(file, photo):
    seen = 255 * (photo.label_map > 0)
    Image.fromarray(np.dstack([photo.image, seen.astype(np.uint8)])).save(file, "PNG")
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def test_a_loss_with_an_option_of_its_own_is_a_file_and_two_rows(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "focal.py").write_text(FOCAL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(losses.OPTIONS, "gamma", Option(at_least(0.0), "G", "how hard it looks"))
    monkeypatch.setitem(losses.LOSSES, "focal", Loss("focal:build", "focal loss", {"gamma": 2.0}))

    state = run(data_dir, tmp_path / "own", "--epochs", "1", "--loss", "focal")
    assert "focal loss of gamma 2.0" in capsys.readouterr().out
    assert (state["args"]["loss"], state["args"]["gamma"]) == ("focal", None)
    run(data_dir, tmp_path / "given", "--epochs", "1", "--loss", "focal", "--gamma", "3")
    assert "focal loss of gamma 3.0" in capsys.readouterr().out
    for flags, told in (
        (["--gamma", "3"], "--gamma is for --loss focal, not simple"),
        (["--loss", "focal", "--gamma", "-1"], "--gamma: got -1, expected a number, 0.0 or more"),
        (["--loss", "focal", "--dice_weight", "1"], "--dice_weight is for --loss dice_ce, not foc"),
    ):
        with pytest.raises(SystemExit):
            train.main(["--data_dir", str(data_dir), *flags])
        assert told in capsys.readouterr().err
    help_text = " ".join(train.build_parser().format_help().split())
    assert "focal: how hard it looks (default: 2)" in help_text


def test_a_network_is_a_file_and_a_row_and_can_predict(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "pixels.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    row = Model("pixels:PixelByPixel", encoders=("pixel",), settings=("features",))
    monkeypatch.setitem(models.MODELS, "pixel_by_pixel", row)

    flags = ["--encoder", "pixel", "--features", "4", "8", "--epochs", "12", "--lr", "0.05"]
    state = run(data_dir, tmp_path / "run", *flags)
    assert state["model"] == {
        "name": "pixel_by_pixel",
        "kwargs": {"num_labels": 3, "features": [4, 8]},
    }
    photos = ["--images_dir", str(data_dir / "val2017"), "--workers", "0"]
    places = ["--checkpoint", str(tmp_path / "run"), "--output_dir", str(tmp_path / "out")]
    assert inference.main([*photos, *places, "--masks_dir", str(data_dir / "masks_val")]) == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["mean"]["iou"] > 0.7  # the labels of the drawings are their colours
    with pytest.raises(SystemExit):
        train.main(["--data_dir", str(data_dir), "--encoder", "pixel", "--pretrained"])
    assert "--pretrained and --encoder_weights are of a ResNet" in capsys.readouterr().err


def test_an_augmentation_is_a_row_with_a_file_if_it_does_something_new(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "blackout.py").write_text(AUGMENTATION)
    monkeypatch.syspath_prepend(tmp_path)
    new = Augmentation("nothing to see", {"share": 0.5}, "blackout:Blackout")
    monkeypatch.setitem(choices.AUGMENTS, "dark", new)
    monkeypatch.setitem(choices.AUGMENTS, "turned", Augmentation("rotation", {"rotation": 90}))

    plain = run(data_dir, tmp_path / "plain", "--epochs", "1")
    turned = run(data_dir, tmp_path / "turned", "--epochs", "1", "--augment", "turned")
    assert not same(plain["model_state"], turned["model_state"])
    run(data_dir, tmp_path / "dark", "--epochs", "1", "--augment", "dark")
    told = capsys.readouterr().out.split("\n")
    assert told.count("black") + told.count("as it is") == 12  # once a training image
    assert 0 < told.count("black") < 12


def test_a_metric_is_a_row_that_every_report_has(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def precision(counts: torch.Tensor) -> torch.Tensor:
        return counts.double().diagonal() / counts.double().sum(dim=0)

    def error(counts: torch.Tensor) -> torch.Tensor:
        return 1 - counts.double().diagonal().sum() / counts.sum()

    monkeypatch.setitem(SCORES, "precision", Score("precision", precision))
    monkeypatch.setitem(SCORES, "error", Score("pixel error", error, of_labels=False, means=()))
    run_dir, out = tmp_path / "run", tmp_path / "out"
    run(data_dir, run_dir, "--epochs", "1")
    row = {name: float(text) for name, text in metrics(run_dir)[0].items()}
    report = json.loads((run_dir / "report.json").read_text())
    assert row["val/mean_precision"] == report["val"]["mean"]["precision"]
    assert row["train/error"] == 1 - row["train/pixel_accuracy"] == report["train"]["error"]
    assert row["val_precision/background"] == report["val"]["labels"][0]["precision"]
    events = EventAccumulator(str(run_dir)).Reload()
    assert [e.value for e in events.Scalars("val/error")] == [pytest.approx(row["val/error"])]
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["label", "IoU", "Dice", "accuracy", "precision", "pixels"] in table
    assert ["pixel", "error", f"{report['val']['error']:.1%}"] in table

    places = ["--checkpoint", str(run_dir), "--output_dir", str(out), "--workers", "0"]
    photos = ["--images_dir", str(data_dir / "val2017"), "--masks_dir", str(data_dir / "masks_val")]
    assert inference.main([*photos, *places]) == 0
    with (out / "scores.csv").open(newline="") as file:
        columns = csv.DictReader(file).fieldnames
    assert {"mean_precision", "precision/background", "error", "iou/background"} <= {*columns}


def test_an_output_of_inference_is_a_file_and_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cutout.py").write_text(CUTOUT)
    monkeypatch.syspath_prepend(tmp_path)
    write = resolve_name("cutout:write")
    row = Output("cutouts", ".png", write, flag="cutouts", help="all but the background")
    kinds = replace(row, folder="big", flag="save_big", kinds=("1", "2"))
    monkeypatch.setitem(OUTPUTS, "cutout", row)
    monkeypatch.setitem(OUTPUTS, "big", kinds)
    photos, out = write_noise(tmp_path / "photos", 2), tmp_path / "out"
    run_dir = make_run(tmp_path / "run")

    report = predict(photos, run_dir, out, "--cutouts", "--save_big", "2")
    for entry in report["images"]:
        assert (entry["cutout"], entry["big"]) == (
            f"cutouts/{entry['file']}",
            f"big/{entry['file']}",
        )
        with Image.open(out / entry["cutout"]) as made, Image.open(out / entry["mask"]) as mask:
            assert np.array_equal(np.array(made)[..., 3] > 0, np.array(mask) > 0)
    before = files(out)
    predict(photos, run_dir, out, "--cutouts", "--save_big", "2")
    assert files(out) == before, "kept as up to date"
    found = predict(tmp_path, run_dir, tmp_path / "other")["images"]
    assert not any(entry["file"].startswith("out/") for entry in found)
    help_text = inference.build_parser().format_help()
    assert "--cutouts " in help_text and "--save_big [TYPE]" in help_text


def test_every_row_of_the_tables_is_built() -> None:
    for name in losses.LOSSES:
        losses.build_loss(name, torch.tensor([5, 3]), 255)
    for encoder in models.encoders():
        spec = models.model_spec(encoder, 2, features=[2], dropout=0.1)
        model = models.build_model(spec["name"], **spec["kwargs"])
        assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 2, 32, 32)
    for name in choices.AUGMENTS:
        build_augment(name)
