"""The command train.py, on drawings that it learns in seconds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from training import ROOT, SMALL, metrics, run, same, write_data

import engine
import inference
import train
from datasets.training.settings import NOT_SETTINGS
from losses import LOSSES
from models.checkpoint import load_checkpoint
from runtime.bar import Bar

# Python 3.12 and later warn that a process with threads is forked; PyTorch's loaders do that.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


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
    monkeypatch.setattr(engine, "SAVE_EVERY", 2)
    run(data_dir, tmp_path / "run", "--epochs", "3")
    files = {path.relative_to(tmp_path / "run").as_posix() for path in tmp_path.rglob("*.*")}
    events = {name for name in files if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert files - events == {
        *("args.json", "metrics.csv", "report.json", "curves.png", "confusion.png"),
        *(f"checkpoints/{name}.pt" for name in ("best", "last", "epoch_0002")),
        *(f"predictions/epoch_000{epoch}.png" for epoch in (2, 3)),
    }
    settings = json.loads((tmp_path / "run" / "args.json").read_text())
    assert settings["train_images"] == str(data_dir / "train2017")
    assert settings["features"] == [4, 8]
    assert settings.keys() == vars(train.build_parser().parse_args([])).keys() - NOT_SETTINGS


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


@pytest.mark.parametrize(
    ("metric", "column", "sign"),
    [
        ("loss", "loss/val", -1),
        ("value 1", "val_iou/value 1", 1),
        ("mean_dice", "val/mean_dice", 1),
    ],
)
def test_the_best_epoch_is_the_one_of_the_selected_metric_on_resume_too(
    data_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    metric: str,
    column: str,
    sign: int,
) -> None:
    caplog.set_level("INFO")
    folder = tmp_path / "run"
    run(data_dir, folder, "--epochs", "3", "--lr", "0.1", "--select", metric)
    assert train.main(["--resume", str(folder), "--epochs", "6"]) == 0
    values = [sign * float(row[column]) for row in metrics(folder)]
    best = load_checkpoint(folder / "checkpoints" / "best.pt")
    assert best["epoch"] == 1 + values.index(max(values))
    assert best["best_score"] == max(values)
    report = json.loads((folder / "report.json").read_text())
    assert (report["best_epoch"], report["best_by"]) == (best["epoch"], metric)
    assert f"(best {metric})" in caplog.text
    assert f"the best epoch by {metric} is {best['epoch']}:" in caplog.text
    assert f"{report['val']['mean']['iou']:.1%}" in capsys.readouterr().out  # the table


def test_a_metric_that_there_is_not_is_told_before_the_first_epoch(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--run_dir", str(tmp_path / "run"), *SMALL, "--select", "cat"]
    told = error_of(capsys, "--data_dir", str(data_dir), *flags)
    assert "--select cat: expected a label or a number: background, value 1, value 2, mean" in told
    assert not (tmp_path / "run").exists()


def test_an_epoch_whose_metric_is_no_number_is_the_best_only_until_one_has_a_number(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([float("nan"), float("nan"), 0.25, float("nan"), 0.125])
    row_of = engine.metrics_row

    def row_without_number(*args: Any, **settings: Any) -> dict[str, float]:
        return {**row_of(*args, **settings), "val_iou/value 1": next(found)}

    monkeypatch.setattr(engine, "metrics_row", row_without_number)
    last = run(data_dir, tmp_path / "run", "--epochs", "5", "--select", "value 1")
    assert (last["best_epoch"], last["best_score"]) == (3, 0.25)
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "best.pt")["epoch"] == 3


def test_the_learning_rate_is_the_cosine_annealing_of_torch(data_dir: Path, tmp_path: Path) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "4", "--lr", "0.01")
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    for row in metrics(tmp_path / "run"):
        assert float(row["lr"]) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_the_same_seed_gives_the_same_run_whatever_the_number_of_workers(
    data_dir: Path, tmp_path: Path
) -> None:
    flags = ["--epochs", "2", "--dropout", "0.2"]
    one = run(data_dir, tmp_path / "one", *flags)
    two = run(data_dir, tmp_path / "two", *flags, "--workers", "1")
    other = run(data_dir, tmp_path / "other", *flags, "--seed", "1")
    assert same(one["model_state"], two["model_state"])
    assert not same(one["model_state"], other["model_state"])


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(data_dir: Path, tmp_path: Path, loss: str) -> None:
    checkpoint = run(data_dir, tmp_path / loss, "--epochs", "1", "--loss", loss)
    assert checkpoint["args"]["loss"] == loss


def test_samplers_choose_other_images(data_dir: Path, tmp_path: Path) -> None:
    weighted = run(data_dir, tmp_path / "weighted", "--epochs", "1", "--sampler", "weighted")
    shuffled = run(data_dir, tmp_path / "shuffled", "--epochs", "1", "--sampler", "shuffle")
    assert not same(weighted["model_state"], shuffled["model_state"])


def test_resuming_a_finished_run_changes_nothing(data_dir: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run(data_dir, run_dir, "--epochs", "1")
    files = ["args.json", "metrics.csv", "checkpoints/last.pt", "checkpoints/best.pt"]
    before = [(run_dir / name).read_bytes() for name in files]
    assert train.main(["--resume", str(run_dir)]) == 0
    assert [(run_dir / name).read_bytes() for name in files] == before


def test_a_picture_has_titles_a_legend_and_a_row_of_image_truth_and_prediction_for_each_sample(
    data_dir: Path, tmp_path: Path
) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "1")
    picture = np.asarray(Image.open(tmp_path / "run" / "predictions" / "epoch_0001.png"))
    assert picture.shape[1] == 3 * 256 + 2 * 4  # small images are enlarged
    top = int(np.argmax((picture[:, :256] != 255).any(axis=2).all(axis=1)))
    below = picture[top + 5 * 256 + 4 * 4 :]
    assert 20 < top < 80
    assert all((picture[:top, x : x + 256] < 99).any() for x in (0, 260, 520)), "the titles"
    assert len(below) > 20 and (below < 99).any(), "the legend"
    first = Image.open(data_dir / "val2017" / "0.png").resize((16, 16), Image.Resampling.BILINEAR)
    shown = picture[top : top + 256 : 16, :256:16]
    assert np.abs(shown.astype(int) - np.asarray(first)).max() <= 1


def test_what_a_run_will_take_is_told_first_and_how_far_it_is_once_a_minute(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(Bar, "told", time.monotonic())
    with Bar("waiting", 10, " steps") as bar:
        bar.advance(1)
    assert not caplog.records  # the minute is not over
    monkeypatch.setattr("runtime.bar.TELL_EVERY", 0.0)
    monkeypatch.setattr("engine.TIMED_STEPS", 2)
    for counts in data_dir.glob("masks_*/.label_counts.json"):
        counts.unlink()  # of another test
    flags = ["--epochs", "1", "--batch_size", "2", "--accumulate", "2", "--ema", "0.9"]
    run(data_dir, tmp_path / "run", *flags, "--features", "16", "32")
    lines = [record.message for record in caplog.records]
    (model,) = (line for line in lines if line.startswith("model"))
    (megabytes,) = re.findall(r"0\.13 million weights, (\d\.\d) MB a checkpoint", model)
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    assert float(megabytes) == pytest.approx(last.stat().st_size / 1e6, rel=0.1)
    assert "step    4 images (--batch_size 2 x --accumulate 2 x 1 processes), 3 an epoch" in lines
    told = r"time    about \d+:\d\d an epoch, \d+:\d\d for 1 epochs, and the time to score"
    assert len([line for line in lines if re.fullmatch(told, line)]) == 1
    told = r"epoch 1: 8 of 12 images; loss \S+, \S+ left of the epoch, \S+ of the run"
    assert len([line for line in lines if re.fullmatch(told, line)]) == 1
    assert "scoring: 3 of 3 batches" in lines
    assert "checking: 5 of 5 pairs" in lines


def test_tensorboard_shows_the_numbers_of_metrics_csv(data_dir: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(data_dir, tmp_path / "run", "--epochs", "2")
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    for name in ("loss/train", "loss/val", "val/mean_iou", "val_iou/value 2"):
        shown = {event.step: event.value for event in events.Scalars(name)}
        in_file = {int(row["epoch"]): float(row[name]) for row in metrics(tmp_path / "run")}
        assert shown == pytest.approx(in_file, rel=1e-6)
    assert [event.step for event in events.Images("predictions")] == [2]


class DivergingLoss(torch.nn.Module):
    """Cross-entropy that is not a number from its fourth call on."""

    calls = 0

    def forward(self, logits: torch.Tensor, label_map: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        loss = torch.nn.functional.cross_entropy(logits, label_map)
        return loss * (float("nan") if self.calls > 3 else 1.0)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_images(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loss = DivergingLoss()
    monkeypatch.setattr(train, "loss_of", lambda args, data: loss)
    run_dir = tmp_path / "run"
    arguments = ["--data_dir", str(data_dir), "--run_dir", str(run_dir), *SMALL]
    flags = ["--checkpoint_steps", "1", "--sampler", "shuffle", "--batch_size", "2"]
    assert train.main([*arguments, *flags]) == 1
    told = capsys.readouterr().err
    assert "stopped: epoch 1, step 4: the loss is nan; its images" in told
    assert told.count(".png") == 2
    last = load_checkpoint(run_dir / "checkpoints" / "last.pt")
    assert last["step"] == 3
    assert all(tensor.isfinite().all() for tensor in last["model_state"].values())


def test_weights_spoilt_by_a_finite_loss_are_not_saved(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data_dir", str(data_dir), "--run_dir", str(tmp_path / "run"), *SMALL]
    assert train.main([*arguments, "--batch_size", "12", "--lr", "1e38"]) == 1
    told = capsys.readouterr().err
    assert "stopped: epoch 1, step 1: the weights are not finite after it; its images: " in told
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        state = load_checkpoint(path)["model_state"]
        assert all(tensor.isfinite().all() for tensor in state.values()), path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "no --train_images; expected --data_dir"),
        (["--data_dir", "nowhere"], "nowhere/train2017: no such folder"),
        (["--data_dir", "."], "train2017: no such folder"),
        (["--train_images", "DATA"], "no --train_masks; expected --data_dir"),
        (["--data_dir", "DATA", "--loss", "focal"], "invalid choice: 'focal'"),
        (["--data_dir", "DATA", "--device", "abacus"], "invalid choice: 'abacus'"),
        (
            ["--data_dir", "DATA", "--epochs", "0"],
            "--epochs: got 0, expected a whole",
        ),
        (
            ["--data_dir", "DATA", "--workers", "-1"],
            "--workers: got -1, expected a whole",
        ),
        (
            ["--data_dir", "DATA", "--features", "8", "0"],
            "--features: got 0, expected a whole",
        ),
        (["--data_dir", "DATA", "--lr", "nan"], "--lr: got nan, expected a number, more than 0"),
        (
            ["--data_dir", "DATA", "--dropout", "1"],
            "--dropout: got 1, expected a number",
        ),
        (["--data_dir", "DATA", "--dice_weight", "2"], "--dice_weight is for --loss dice_ce, not"),
        (
            ["--data_dir", "DATA", "--ema", "1"],
            "--ema: got 1, expected a number, 0 or",
        ),
        (
            ["--data_dir", "DATA", "--val_fraction", "0"],
            "--val_fraction: got 0, expected a num",
        ),
        (["--data_dir", "DATA", "--keep", "-1"], "--keep: got -1, expected a whole"),
        (["--data_dir", "DATA", "--run_dir", "DATA/train2017/0.png"], "is a file, expected a fol"),
        (
            ["--data_dir", "DATA", "--init_from", "nowhere"],
            "nowhere: no such file, expected a",
        ),
        (["--data_dir", "DATA", "--init_from", "DATA"], "best.pt: no such file"),
        (
            ["--data_dir", "DATA", "--encoder", "resnet18", "--encoder_weights", "nowhere"],
            "--encoder_weights nowhere: no such file",
        ),
        (
            ["--data_dir", "DATA", "--loss", "weighted_ce", "--weight_cap", "0"],
            "--weight_cap: got 0, expected a number, more than 0",
        ),
        (["--data_dir", "DATA", "--seed", str(2**63)], "expected less than 2^63"),
        (["--resume", "nowhere"], "nowhere: no such file, expected a checkpoint or the folder"),
        (["--resume", "DATA"], "last.pt: no such file"),
        (["--resume"], "name it: --resume RUN, or --run_dir DIR"),
        (["--resume", "a", "--init_from", "b"], "leave out either"),
        (
            ["--data_dir", "DATA", "--freeze_encoder", "1"],
            "keeps learned weights; give --enc",
        ),
        (
            ["--data_dir", "DATA", "--encoder", "resnet18", "--freeze_encoder", "1"],
            "and --pretrained, --encoder_weights FILE or --init_from RUN",
        ),
        (["--eval_only", "a", "--check_only"], "--check_only: not allowed with argument --eval"),
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
    assert message in error_of(capsys, *(flag.replace("DATA", str(data_dir)) for flag in flags))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--warmup_epochs", "3", "--epochs", "3"],
            "of --epochs 3 none is left",
        ),
        (
            ["--early_stop", "9", "--epochs", "4"],
            "of --epochs 4 none can be",
        ),
        (
            ["--encoder", "resnet18", "--features", "8"],
            "as --encoder resnet18 has none",
        ),
        (
            ["--loss", "dice_ce", "--weight_cap", "3"],
            "all labels weigh the same",
        ),
        (
            ["--loss", "weighted_ce", "--weight_power", "0", "--weight_cap", "3"],
            "weigh the same",
        ),
        (["--loss", "simple", "--weight_cap", "3"], "--weight_cap is for --loss"),
        (
            [f"--{name}=DATA/{name}" for name in train.FOLDERS],
            "would change nothing, as all four folders are named",
        ),
    ],
)
def test_a_flag_that_would_change_nothing_is_refused(
    data_dir: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    flags = [flag.replace("DATA", str(data_dir)) for flag in flags]
    assert message in error_of(capsys, "--data_dir", str(data_dir), *flags)


def test_flags_of_training_are_refused_where_nothing_is_trained(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "1")
    told = error_of(capsys, "--eval_only", str(tmp_path / "run"), "--lr", "1", "--epochs", "2")
    assert "--epochs, --lr: of no effect with --eval_only" in told


def test_where_there_are_no_validation_images_the_flag_made_for_that_is_named(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train2017", "masks_train"):
        shutil.copytree(data_dir / name, tmp_path / name)
    told = error_of(capsys, "--data_dir", str(tmp_path))
    assert "val2017: no such folder" in told and "--val_fraction" in told
    folders = [str(tmp_path / name) for name in ("train2017", "masks_train")]
    told = error_of(capsys, "--train_images", folders[0], "--train_masks", folders[1])
    assert "--val_images" in told and "--val_fraction" in told


def test_an_empty_folder_and_images_without_masks_are_told(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train2017", "masks_train", "val2017", "masks_val"):
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
    assert "masks_val has the labels background, cat, tree, expected those that are train" in told
    assert "background, dog, tree; generate or describe the masks of both" in told


def test_a_bad_file_is_left_out_and_named(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "train2017" / "7.png").write_bytes(b"not a picture")
    with caplog.at_level("INFO"):
        run(tmp_path, tmp_path / "run", "--epochs", "1")
    assert "1 image that cannot be read, left out: 7.png (not a picture)" in caplog.text
    assert f"train   11 images of {tmp_path / 'train2017'}" in caplog.text


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_file_that_breaks_within_an_epoch_is_named_in_a_line(
    data_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    workers: str,
) -> None:
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    check = train.check_data

    def check_then_break(*args: Any, **settings: Any) -> Any:
        data = check(*args, **settings)
        (tmp_path / "train2017" / "7.png").write_bytes(b"not a picture")
        return data

    monkeypatch.setattr(train, "check_data", check_then_break)
    flags = ["--run_dir", str(tmp_path / "run"), *SMALL, "--workers", workers]
    told = error_of(capsys, "--data_dir", str(tmp_path), *flags, "--sampler", "shuffle")
    assert told.startswith("train.py: error: ")
    assert "7.png: cannot be read as an image" in told


def test_a_user_s_files_in_the_run_folder_are_not_replaced(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.json").write_text("mine")
    told = error_of(capsys, "--data_dir", str(data_dir), "--run_dir", str(tmp_path), *SMALL)
    assert f"{tmp_path / 'report.json'} is there and would be replaced" in told
    assert (tmp_path / "report.json").read_text() == "mine"


def test_a_batch_without_statistics_is_explained(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--run_dir", str(tmp_path / "run"), *SMALL, "--image_size", "4", "--batch_size", "1"]
    told = error_of(capsys, "--data_dir", str(data_dir), *flags)
    assert "choose a larger --image_size than 4" in told


def test_a_run_that_ends_before_its_first_epoch_can_be_continued(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.Training._steps", fail)
    arguments = ["--data_dir", str(data_dir), "--run_dir", str(tmp_path / "run"), *SMALL]
    assert train.main([*arguments, "--epochs", "1"]) == 130
    monkeypatch.undo()
    assert train.main(["--resume", str(tmp_path / "run")]) == 0
    again = run(data_dir, tmp_path / "whole", "--epochs", "1")
    last = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")
    assert same(last["model_state"], again["model_state"])


def test_a_run_is_neither_overwritten_nor_continued_with_other_settings(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = str(tmp_path / "run")
    run(data_dir, tmp_path / "run", "--epochs", "1")
    capsys.readouterr()
    told = error_of(capsys, "--data_dir", str(data_dir), "--run_dir", run_dir)
    assert "would be replaced; go on with that run (--resume" in told
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
    assert "was trained with other labels: background, value 1, value 2, now background, " in told
    assert "start a new run from its weights: --init_from" in told


def test_a_wrong_path_is_told_before_pytorch_is_loaded() -> None:
    code = (
        "import sys, train\ntry: train.main(['--data_dir', 'nowhere'])\n"
        "except SystemExit as stop: print(stop.code, 'torch' in sys.modules)"
    )
    root = Path(train.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout == "2 False\n"
    assert f"train.py: error: {root / 'nowhere' / 'train2017'}: no such folder; " in done.stderr


def test_folders_in_another_layout_and_a_part_of_them_can_be_trained_on(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = ("train2017", "masks_train", "val2017", "masks_val")
    flags = []
    for name in folders:
        shutil.copytree(data_dir / name, tmp_path / f"my {name}")
        flag = {"train2017": "train_images", "val2017": "val_images"}.get(name)
        flags += [f"--{flag or '_'.join(name.split('_')[::-1])}", str(tmp_path / f"my {name}")]
    numbers = ["--max_train_images", "7", "--max_val_images", "3"]
    with caplog.at_level("INFO"):
        assert (
            train.main(
                [*flags, *numbers, "--run_dir", str(tmp_path / "run"), *SMALL, "--epochs", "1"]
            )
            == 0
        )
    assert f"train   7 images of {tmp_path / 'my train2017'}" in caplog.text
    assert f"val     3 images of {tmp_path / 'my val2017'}" in caplog.text


@pytest.mark.parametrize("cache", ["none", "disk"])
def test_one_folder_can_be_split_the_same_way_every_time(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, cache: str
) -> None:
    folders = [
        "--train_images",
        str(data_dir / "train2017"),
        "--train_masks",
        str(data_dir / "masks_train"),
        "--val_fraction",
        "0.3",
    ]
    sizes = []
    for name in ("a", "b"):
        run_dir = tmp_path / name
        flags = [*folders, "--run_dir", str(run_dir), *SMALL, "--epochs", "1", "--cache", cache]
        assert train.main(flags) == 0
        sizes.append(load_checkpoint(run_dir / "checkpoints" / "last.pt")["images"])
    train_size, val_size = map(int, sizes[0].split(" images")[0].split(" + "))
    assert sizes[0] == sizes[1]
    assert train_size + val_size == 12
    assert 0 < val_size < 12


def test_a_cache_changes_nothing(data_dir: Path, tmp_path: Path) -> None:
    flags = ["--epochs", "2", "--augment", "strong"]
    plain = run(data_dir, tmp_path / "plain", *flags)
    kept = run(data_dir, tmp_path / "kept", *flags, "--cache", "disk")
    assert same(plain["model_state"], kept["model_state"])


def test_check_only_shows_the_labels_and_writes_nothing(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train.main(["--data_dir", str(data_dir), "--check_only"]) == 0
    shown = capsys.readouterr().out  # what was asked for, and nothing else
    assert shown.startswith("label        pixels   images   weight    draws\nbackground ")
    assert list(tmp_path.iterdir()) == []


def test_what_the_network_sees_need_not_be_a_square(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--image_size", "12", "20", "--augment", "light", "--epochs", "1"]
    checkpoint = run(data_dir, tmp_path / "run", *flags, "--cache", "disk")
    assert checkpoint["image_size"] == [12, 20]
    assert (data_dir / "masks_val" / ".images_12x20.cache").is_file()
    assert train.main(["--resume", str(tmp_path / "run"), "--epochs", "2"]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert train.main(["--eval_only", str(tmp_path / "run")]) == 0
    assert f"{report['val']['mean']['iou']:.1%}" in capsys.readouterr().out


CROP = ("--image_size", "16", "--crop", "20", "--augment", "wide", "--lr", "0.01")


@pytest.fixture(scope="module")
def cropped(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on crops, of validation photos of several shapes."""
    run_dir = tmp_path_factory.mktemp("cropped") / "run"
    run(data_dir, run_dir, *CROP, "--epochs", "2", "--amp", "off")
    return run_dir


def test_a_run_on_crops_says_so_in_its_checkpoint(cropped: Path) -> None:
    checkpoint = load_checkpoint(cropped / "checkpoints" / "last.pt")
    assert (checkpoint["image_size"], checkpoint["shorter_side"]) == ([16, 16], 20)
    assert checkpoint["args"]["crop"] == 20
    assert (cropped / "predictions" / "epoch_0002.png").is_file()


def test_crops_are_as_long_as_the_photo_s_shorter_side_if_no_number_is_given(
    data_dir: Path,
) -> None:
    flags = ["--data_dir", str(data_dir), "--check_only"]
    given = (["--crop"], ["--image_size", "32", "24", "--crop"], ["--crop", "40"], [])
    crops = [train.parse_args([*flags, *words]).crop for words in given]
    assert crops == [256, 24, 40, None]


def test_a_cache_and_workers_change_nothing_about_crops(
    data_dir: Path, tmp_path: Path, cropped: Path
) -> None:
    flags = [*CROP, "--epochs", "2", "--amp", "off", "--cache", "disk", "--workers", "1"]
    kept = run(data_dir, tmp_path / "kept", *flags)
    assert same(
        kept["model_state"], load_checkpoint(cropped / "checkpoints/last.pt")["model_state"]
    )
    assert metrics(tmp_path / "kept") == metrics(cropped)
    assert (data_dir / "masks_train" / ".images_up_to_40.cache").is_file()
    assert (data_dir / "masks_val" / ".images_shorter_20.cache").is_file()


def test_a_run_on_crops_is_scored_as_inference_scores_it(
    data_dir: Path, tmp_path: Path, cropped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json.loads((cropped / "report.json").read_text())["val"]
    capsys.readouterr()
    assert train.main(["--eval_only", str(cropped), "--amp", "off"]) == 0
    assert f"{report['mean']['iou']:.1%}" in capsys.readouterr().out
    flags = ["--images_dir", data_dir / "val2017", "--masks_dir", data_dir / "masks_val"]
    flags += ["--checkpoint", cropped, "--output_dir", tmp_path, "--amp", "off", "--workers", "0"]
    assert inference.main([str(flag) for flag in flags]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    for ours, theirs in zip(report["labels"], scores["labels"], strict=True):
        assert ours["iou"] == pytest.approx(theirs["iou"], abs=0.002)  # several images at a time
    assert scores["pixel_accuracy"] == pytest.approx(report["pixel_accuracy"], abs=0.002)


def test_eval_only_prints_the_scores_of_the_run(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "2", "--ema", "0.5")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    capsys.readouterr()
    assert train.main(["--eval_only", str(tmp_path / "run")]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for name, scores in (
        ("value 1", report["val"]["labels"][1]),
        ("value 2", report["val"]["labels"][2]),
        ("mean", report["val"]["mean"]),
    ):
        text = f"{name} {scores['iou']:.1%} {scores['dice']:.1%} {scores['accuracy']:.1%}"
        assert any(line.startswith(text) for line in lines), text
    moved = tmp_path / "moved.pt"
    shutil.copy(tmp_path / "run" / "checkpoints" / "best.pt", moved)
    folders = ["--val_images", str(data_dir / "val2017"), "--val_masks"]
    masks = str(data_dir / "masks_val")
    assert train.main(["--eval_only", str(moved), *folders, masks]) == 0
    assert f"{report['val']['mean']['iou']:.1%}" in capsys.readouterr().out


def test_other_images_are_scored_whole_whatever_share_the_run_held_back(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "1", "--val_fraction", "0.5")
    capsys.readouterr()
    folders = [
        "--val_images",
        str(data_dir / "val2017"),
        "--val_masks",
        str(data_dir / "masks_val"),
    ]
    for flags in (folders, ["--data_dir", str(data_dir)]):
        assert train.main(["--eval_only", str(tmp_path / "run"), *flags]) == 0
        assert "over 5 images" in capsys.readouterr().out


def test_weights_of_quite_another_network_are_refused(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data_dir, tmp_path / "old", "--epochs", "1")
    flags = ["--run_dir", str(tmp_path / "new"), *SMALL, "--init_from", str(tmp_path / "old")]
    told = error_of(capsys, "--data_dir", str(data_dir), *flags, "--features", "5", "6", "7")
    assert "fits this network; it was trained with --encoder residual --features 4 8" in told


def test_the_report_is_that_of_the_best_epoch(data_dir: Path, tmp_path: Path) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "4", "--lr", "0.01")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    best = metrics(tmp_path / "run")[report["best_epoch"] - 1]
    for split in ("train", "val"):
        assert report[split]["mean"]["iou"] == float(best[f"{split}/mean_iou"])
        assert report[split]["pixel_accuracy"] == float(best[f"{split}/pixel_accuracy"])


def test_a_new_run_can_start_from_old_weights_of_other_labels(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = run(data_dir, tmp_path / "old", "--epochs", "1")
    shutil.copytree(data_dir, tmp_path / "other")
    for mask in (tmp_path / "other").glob("masks_*/*.png"):
        Image.fromarray(np.asarray(Image.open(mask)) % 2).save(mask)
    caplog.clear()
    file = str(tmp_path / "old" / "checkpoints" / "last.pt")
    new = run(
        tmp_path / "other", tmp_path / "new", "--epochs", "1", "--lr", "1e-12", "--init_from", file
    )
    told = [record.message for record in caplog.records if "left out" in record.message]
    for text, name in zip(told, ("head.weight", "head.bias"), strict=True):
        assert text.endswith(f"--encoder residual --features 4 8, or new: {name}")
    for name in ("encoder.0.conv1.weight", "bottleneck.1.qkv.weight", "decoder.0.conv2.weight"):
        assert torch.allclose(new["model_state"][name], old["model_state"][name], atol=1e-9), name


def test_a_resnet_trains_from_the_weights_of_a_file(data_dir: Path, tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(7)
    weights = resnet18(weights=None).state_dict()
    torch.save(weights, tmp_path / "resnet18.pth")
    flags = ["--encoder", "resnet18", "--encoder_weights", str(tmp_path / "resnet18.pth")]
    flags += ["--max_train_images", "4", "--max_val_images", "2", "--image_size", "64"]
    flags += ["--freeze_encoder", "1", "--epochs", "1", "--lr", "0.01"]
    new = run(data_dir, tmp_path / "run", *flags)
    assert new["model"]["kwargs"]["encoder"] == "resnet18"
    for name in ("layer1.0.conv1.weight", "bn1.running_mean", "layer3.1.bn2.bias"):
        assert torch.equal(new["model_state"][f"encoder.{name}"], weights[name])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            MemoryError(),
            "out of memory with --batch_size 8 and --image_size 256; try --batch_size 4",
        ),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            "--accumulate 2, which keeps the images of a step",
        ),
        (RuntimeError("DataLoader worker (pid 1) is killed"), "try fewer --workers"),
        (
            RuntimeError(
                "DataLoader worker (pid 1) is killed by signal: Bus error. It is possible that "
                "dataloader's workers are out of shared memory."
            ),
            "--shm-size",
        ),
        (
            RuntimeError(
                "Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: unable to "
                "write to file </torch_7_1>: No space left on device (28)"
            ),
            "or read images in this process: --workers 0",
        ),
        (OSError(28, "No space left on device"), "/dev/shm"),
        (OSError(28, "No space left on device", "last.pt"), "left on device: 'last.pt'"),
        (RuntimeError("unable to open shared memory object </torch_1> in read"), "/dev/shm, thr"),
        (RuntimeError("a bug"), None),
    ],
)
def test_errors_that_a_user_can_mend_are_told_in_a_line(
    error: Exception, message: str | None
) -> None:
    told = train.explain(error, train.build_parser().parse_args([]))
    assert told is None if message is None else message in (told or "")


def test_out_of_memory_ends_the_run_and_keeps_the_last_checkpoint(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir = tmp_path / "run"
    run(data_dir, run_dir, "--epochs", "1")
    before = (run_dir / "checkpoints" / "last.pt").read_bytes()

    def step(*args: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("models.learner.Learner.step", step)
    assert train.main(["--resume", str(run_dir), "--epochs", "2"]) == 1
    told = capsys.readouterr().err
    assert "out of memory with --batch_size 4" in told
    assert "Traceback" not in told
    assert (run_dir / "checkpoints" / "last.pt").read_bytes() == before


def test_compiling_is_asked_of_torch(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def fake(model: torch.nn.Module) -> torch.nn.Module:
        compiled.append(model)
        return model

    monkeypatch.setattr(torch, "compile", fake)
    state = run(data_dir, tmp_path / "run", "--epochs", "1", "--compile")
    assert len(compiled) == 1
    assert not any("_orig_mod" in name for name in state["model_state"])


def test_the_precision_is_that_of_the_flag(data_dir: Path, tmp_path: Path) -> None:
    full = run(data_dir, tmp_path / "off", "--epochs", "1", "--amp", "off")
    half = run(data_dir, tmp_path / "bf16", "--epochs", "1", "--amp", "bf16")
    assert not same(full["model_state"], half["model_state"])
    assert all(tensor.dtype != torch.bfloat16 for tensor in half["model_state"].values())


def test_batch_statistics_over_processes_are_for_gpus(data_dir: Path, tmp_path: Path) -> None:
    from models.learner import Learner
    from runtime.devices import Machine, World

    run(data_dir, tmp_path / "run", "--epochs", "1", "--sync_bn")  # one process: nothing to do
    with pytest.raises(ValueError, match="--sync_bn: PyTorch has it for GPUs only; leave it out"):
        model = torch.nn.BatchNorm2d(2)
        Learner(model, torch.nn.Identity(), Machine(world=World(0, 2)), sync_bn=True)


def test_pretrained_weights_are_asked_of_torchvision(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    asked = []
    monkeypatch.setattr("models.weights.load_pretrained_encoder", asked.append)
    flags = ["--encoder", "resnet18", "--pretrained", "--image_size", "64", "--epochs", "1"]
    run(data_dir, tmp_path / "run", *flags, "--max_train_images", "4", "--max_val_images", "1")
    assert [model.encoder.name for model in asked] == ["resnet18"]
    assert train.main(["--resume", str(tmp_path / "run"), "--epochs", "2"]) == 0
    assert len(asked) == 1  # it has better ones by now
    told = error_of(capsys, "--data_dir", str(data_dir), "--pretrained")
    assert "--pretrained and --encoder_weights are of a ResNet; give --encoder resnet18" in told


@pytest.mark.parametrize(
    ("loss", "flags"),
    [
        ("simple", ["--label_smoothing", "0.2"]),
        ("dice_ce", ["--dice_weight", "3"]),
        ("weighted_ce", ["--weight_power", "1"]),
        ("weighted_ce", ["--weight_cap", "1.1"]),
    ],
)
def test_the_options_of_losses_change_what_is_learned(
    data_dir: Path, tmp_path: Path, loss: str, flags: list[str]
) -> None:
    flags = ["--loss", loss, "--epochs", "1", *flags]
    plain = run(data_dir, tmp_path / "plain", *flags[:4])
    other = run(data_dir, tmp_path / "other", *flags)
    assert not same(plain["model_state"], other["model_state"])


def test_a_recipe_sets_what_the_user_does_not(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    checkpoint = run(data, tmp_path / "run", "--recipe", "scratch", "--lr", "0.5", "--epochs", "1")
    args = checkpoint["args"]
    assert (args["recipe"], args["loss"], args["dice_weight"]) == ("scratch", "dice_ce", 2.0)
    assert (args["weight_decay"], args["ema"], args["augment"]) == (0.05, 0.99, "strong")
    assert (args["lr"], args["epochs"]) == (0.5, 1)  # given, so they win
    assert train.main(["--resume", str(tmp_path / "run"), "--epochs", "2"]) == 0
    last = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")
    assert last["epoch"] == 2 and {**last["args"], "epochs": 1} == args


@pytest.mark.parametrize("name", train.RECIPES)
def test_every_recipe_is_made_of_flags_and_stands_in_the_docs(name: str, tmp_path: Path) -> None:
    flags = train.RECIPES[name]
    given = ["--data_dir", str(tmp_path), *flags.split()]
    assert train.build_parser().parse_args(given)
    page = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
    assert f"| `{name}` | `{flags}` |" in page or (not flags and f"| `{name}` | none" in page)


def test_finetune_wants_weights_to_go_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = error_of(capsys, "--data_dir", str(tmp_path), "--recipe", "finetune")
    assert "give --pretrained, --encoder_weights FILE or --init_from RUN, or take" in told


def test_the_plain_recipe_says_that_there_are_better_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run(write_data(tmp_path / "data"), tmp_path / "run", "--epochs", "1")
    assert "mean IoU of 10.7%, --recipe scratch came to 14.1%, and" in caplog.text
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for figure in ("10.7 ± 0.3", "**14.1 ± 0.1**", "mean 35.2 %"):
        assert figure in results
