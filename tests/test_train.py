"""The command train.py, on drawings that it learns in seconds."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import engine
import models.checkpoint
import train
from losses import LOSSES
from models.checkpoint import load_checkpoint
from runtime.devices import DEVICES

# Python 3.12 and later warn that a process with threads is forked; PyTorch's loaders do that.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

SMALL = ["--features", "4", "8", "--image_size", "16", "--batch_size", "4", "--workers", "0"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 and 5 images of 20 x 30 with a red and a green rectangle, and plain masks."""
    folder = tmp_path_factory.mktemp("data")
    chance = np.random.default_rng(0)
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
    arguments = ["--data_dir", str(data_dir), "--run_dir", str(run_dir), *SMALL, *flags]
    assert train.main(arguments) == 0
    return load_checkpoint(run_dir / "checkpoints" / "last.pt")


def metrics(run_dir: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, but for the column that no two runs share."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: row[name] for name in row if name != "images_per_second"} for row in rows]


def same(left: Any, right: Any) -> bool:
    """Equal to the last bit, tensors in dicts and lists included."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail as a user's mistake; give what it says last."""
    try:
        code = train.main(arguments)
    except SystemExit as stop:  # argparse
        code = stop.code
    assert code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.splitlines()[-1]


def test_a_run_folder_holds_all_that_is_promised(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SAVE_EVERY", 2)
    run(data_dir, tmp_path / "run", "--epochs", "3")
    files = {path.relative_to(tmp_path / "run").as_posix() for path in tmp_path.rglob("*.*")}
    events = {name for name in files if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert files - events == {
        "args.json",
        "metrics.csv",
        *(f"checkpoints/{name}.pt" for name in ("best", "last", "epoch_0002")),
        *(f"predictions/epoch_000{epoch}.png" for epoch in (2, 3)),
    }
    settings = json.loads((tmp_path / "run" / "args.json").read_text())
    assert settings["data_dir"] == str(data_dir)
    assert settings["features"] == [4, 8]
    assert settings.keys() == vars(train.build_parser().parse_args([])).keys() - train.NOT_SETTINGS


def test_the_network_learns_and_best_is_the_epoch_of_the_highest_score(
    data_dir: Path, tmp_path: Path
) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "15", "--lr", "0.02")
    rows = metrics(tmp_path / "run")
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 16)]
    scores = [float(row["val/mean_iou"]) for row in rows]
    best = load_checkpoint(tmp_path / "run" / "checkpoints" / "best.pt")
    assert best["epoch"] == best["best_epoch"] == 1 + scores.index(max(scores))
    assert best["best_score"] == max(scores) > 0.8
    assert float(rows[-1]["loss/train"]) < float(rows[0]["loss/train"])


def test_the_learning_rate_is_the_cosine_annealing_of_torch(data_dir: Path, tmp_path: Path) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "4", "--lr", "0.01")
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    for row in metrics(tmp_path / "run"):
        assert float(row["lr"]) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("moment", ["in an epoch", "before last.pt"])
def test_a_stopped_run_that_goes_on_equals_one_that_never_stopped(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    flags = ["--epochs", "3", "--dropout", "0.3", "--loss", "dice_ce", "--lr", "0.01"]
    whole = run(data_dir, tmp_path / "whole", *flags)

    calls = 0

    def stopping(function: Any) -> Any:
        def wrapper(*args: Any) -> Any:
            nonlocal calls
            result = function(*args)
            calls += 1
            if calls == 2:
                raise KeyboardInterrupt
            return result

        return wrapper

    with monkeypatch.context() as patch:
        if moment == "in an epoch":  # the second: the network has changed, no file has
            patch.setattr(engine, "train_epoch", stopping(engine.train_epoch))
        else:  # metrics.csv has a row of the second epoch, no checkpoint does
            save = models.checkpoint.save_checkpoint

            def save_or_stop(path: Path, checkpoint: dict[str, Any]) -> None:
                if checkpoint["epoch"] == 2:
                    raise KeyboardInterrupt
                save(path, checkpoint)

            patch.setattr(models.checkpoint, "save_checkpoint", save_or_stop)
        run_dir = tmp_path / "stopped"
        arguments = ["--data_dir", str(data_dir), "--run_dir", str(run_dir), *SMALL, *flags]
        assert train.main(arguments) == 130
    assert load_checkpoint(run_dir / "checkpoints" / "last.pt")["epoch"] == 1

    assert train.main(["--resume", str(run_dir)]) == 0
    resumed = load_checkpoint(run_dir / "checkpoints" / "last.pt")
    assert same(resumed, whole)
    assert metrics(run_dir) == metrics(tmp_path / "whole")


def test_the_same_seed_gives_the_same_run_whatever_the_number_of_workers(
    data_dir: Path, tmp_path: Path
) -> None:
    flags = ["--epochs", "2", "--dropout", "0.2"]
    one = run(data_dir, tmp_path / "one", *flags)
    two = run(data_dir, tmp_path / "two", *flags, "--workers", "1")
    other = run(data_dir, tmp_path / "other", *flags, "--seed", "1")
    assert same(one["model_state"], two["model_state"])
    assert not same(one["model_state"], other["model_state"])


def test_every_epoch_has_another_order(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_epoch, orders = engine.train_epoch, []

    def watched(model: Any, loader: Any, *args: Any) -> Any:
        seed = loader.sampler.generator.initial_seed()
        orders.append((list(loader.sampler), torch.initial_seed()))
        loader.sampler.generator.manual_seed(seed)
        return train_epoch(model, loader, *args)

    monkeypatch.setattr(engine, "train_epoch", watched)
    run(data_dir, tmp_path / "run", "--epochs", "3", "--sampler", "shuffle")
    assert len({tuple(order) for order, _ in orders}) == 3
    assert all(sorted(order) == list(range(12)) for order, _ in orders)
    assert len({seed for _, seed in orders}) == 3  # dropout's chance


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(data_dir: Path, tmp_path: Path, loss: str) -> None:
    checkpoint = run(data_dir, tmp_path / loss, "--epochs", "1", "--loss", loss)
    assert checkpoint["args"]["loss"] == loss


def test_samplers_choose_other_images(data_dir: Path, tmp_path: Path) -> None:
    weighted = run(data_dir, tmp_path / "weighted", "--epochs", "1", "--sampler", "weighted")
    shuffled = run(data_dir, tmp_path / "shuffled", "--epochs", "1", "--sampler", "shuffle")
    assert not same(weighted["model_state"], shuffled["model_state"])


def test_a_finished_run_can_be_extended(data_dir: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run(data_dir, run_dir, "--epochs", "1")
    assert train.main(["--resume", str(run_dir), "--epochs", "3", "--device", "cpu"]) == 0
    rows = metrics(run_dir)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["lr"]) for row in rows] == pytest.approx([1e-4, 0.75e-4, 0.25e-4])
    assert json.loads((run_dir / "args.json").read_text())["epochs"] == 3


def test_resuming_a_finished_run_changes_nothing(data_dir: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run(data_dir, run_dir, "--epochs", "1")
    files = ["args.json", "metrics.csv", "checkpoints/last.pt", "checkpoints/best.pt"]
    before = [(run_dir / name).read_bytes() for name in files]
    assert train.main(["--resume", str(run_dir)]) == 0
    assert [(run_dir / name).read_bytes() for name in files] == before


def test_a_picture_has_a_row_of_image_truth_and_prediction_for_each_sample(
    data_dir: Path, tmp_path: Path
) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "1")
    picture = np.asarray(Image.open(tmp_path / "run" / "predictions" / "epoch_0001.png"))
    assert picture.shape == (5 * 16 + 4 * 4, 3 * 16 + 2 * 4, 3)
    first = Image.open(data_dir / "val2017" / "0.png").resize((16, 16), Image.Resampling.BILINEAR)
    assert np.abs(picture[:16, :16].astype(int) - np.asarray(first)).max() <= 1


def test_tensorboard_shows_the_numbers_of_metrics_csv(data_dir: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(data_dir, tmp_path / "run", "--epochs", "2")
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    for name in ("loss/train", "loss/val", "val/mean_iou", "val_iou/value 2"):
        shown = {event.step: event.value for event in events.Scalars(name)}
        in_file = {int(row["epoch"]): float(row[name]) for row in metrics(tmp_path / "run")}
        assert shown == pytest.approx(in_file, rel=1e-6)
    assert [event.step for event in events.Images("predictions")] == [2]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train_epoch = engine.train_epoch

    def diverging(*args: Any) -> tuple[float, float]:
        loss, speed = train_epoch(*args)
        return (float("nan") if args[-1] == "epoch 2/50" else loss), speed

    monkeypatch.setattr(engine, "train_epoch", diverging)
    arguments = ["--data_dir", str(data_dir), "--run_dir", str(tmp_path / "run"), *SMALL]
    assert train.main(arguments) == 1
    assert "epoch 2/50: the loss is nan" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["epoch"] == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--data_dir is missing"),
        (["--data_dir", "nowhere"], "nowhere: no such folder"),
        (["--data_dir", "."], "train2017: no such folder"),
        (["--data_dir", "DATA", "--loss", "focal"], "invalid choice: 'focal'"),
        (["--data_dir", "DATA", "--device", "abacus"], "invalid choice: 'abacus'"),
        (["--data_dir", "DATA", "--epochs", "0"], "--epochs is 0, expected 1 or more"),
        (["--data_dir", "DATA", "--workers", "-1"], "--workers is -1, expected 0 or more"),
        (["--data_dir", "DATA", "--features", "8", "0"], "expected 1 or more each"),
        (["--data_dir", "DATA", "--lr", "nan"], "--lr is nan, expected more than 0"),
        (["--data_dir", "DATA", "--dropout", "1"], "--dropout is 1.0, expected 0 or more"),
        (["--resume", "nowhere"], "nowhere: no such file, expected a checkpoint or the folder"),
        (["--resume", "DATA"], "last.pt: no such file"),
    ],
)
def test_a_mistake_in_the_flags_is_told_in_a_line(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in error_of(
        capsys, *(str(data_dir) if flag == "DATA" else flag for flag in flags)
    )
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_and_images_without_masks_are_told(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train2017", "masks_train"):
        (tmp_path / name).mkdir()
    assert "train2017: holds no picture" in error_of(capsys, "--data_dir", str(tmp_path))
    shutil.copy(data_dir / "train2017" / "1.png", tmp_path / "train2017" / "1.png")
    assert "masks_train: holds no picture" in error_of(capsys, "--data_dir", str(tmp_path))
    shutil.copy(data_dir / "masks_train" / "2.png", tmp_path / "masks_train" / "2.png")
    assert "no image of" in error_of(capsys, "--data_dir", str(tmp_path))


def test_masks_with_other_labels_for_validation_are_told(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    for split, name in (("train", "dog"), ("val", "cat")):
        labels = [{"name": label, "color": [0, 0, 0]} for label in ("background", name, "tree")]
        report = {"format_version": 1, "label_set": {"name": "own", "labels": labels}}
        (tmp_path / f"masks_{split}" / "masks.json").write_text(json.dumps(report))
    told = error_of(capsys, "--data_dir", str(tmp_path))
    assert "masks_train has the labels background, dog, tree, masks_val has background, cat" in told


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_file_that_breaks_the_training_is_named_in_a_line(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "train2017" / "7.png").write_bytes(b"not a picture")
    flags = ["--run_dir", str(tmp_path / "run"), *SMALL, "--workers", workers]
    told = error_of(capsys, "--data_dir", str(tmp_path), *flags, "--sampler", "shuffle")
    assert told.startswith("train.py: error: ")
    assert "7.png: cannot be read as an image" in told


def test_a_run_is_neither_overwritten_nor_continued_with_other_settings(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = str(tmp_path / "run")
    run(data_dir, tmp_path / "run", "--epochs", "1")
    capsys.readouterr()
    told = error_of(capsys, "--data_dir", str(data_dir), "--run_dir", run_dir)
    assert f"already holds a run; go on with it: --resume {run_dir}" in told
    assert "leave out --run_dir" in error_of(capsys, "--resume", run_dir, "--run_dir", "other")
    told = error_of(capsys, "--resume", run_dir, "--features", "4")
    assert "--features [4]" in told
    assert "has [4, 8], which cannot change" in told


def test_a_run_is_not_continued_on_masks_with_other_labels(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "1")
    shutil.copytree(data_dir, tmp_path / "other")
    for mask in (tmp_path / "other").glob("masks_*/*.png"):
        Image.fromarray(np.asarray(Image.open(mask)) % 2).save(mask)
    flags = ["--data_dir", str(tmp_path / "other"), "--epochs", "2"]
    told = error_of(capsys, "--resume", str(tmp_path / "run"), *flags)
    assert "has the labels background, value 1;" in told
    assert "learned others" in told


def test_a_wrong_path_is_told_before_pytorch_is_loaded() -> None:
    code = (
        "import sys, train; code = train.main(['--data_dir', 'nowhere']);"
        "print(code, 'torch' in sys.modules)"
    )
    root = Path(train.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (
        "2 False\n",
        "train.py: error: nowhere: no such folder\n",
    )


def test_the_choices_are_the_names_in_the_tables() -> None:
    from datasets.sampling import SAMPLERS

    choices = {action.dest: action.choices for action in train.build_parser()._actions}
    assert list(choices["loss"]) == list(LOSSES)
    assert list(choices["sampler"]) == list(SAMPLERS)
    assert list(choices["device"]) == list(DEVICES)
