"""train.py stopped anywhere, by anyone, and continued as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from training import ROOT, SMALL, TINY, metrics, run, same, wait_for_step, write_data

import engine
import train
from models import MODELS
from models.checkpoint import load_checkpoint
from models.learner import Learner
from runtime.locks import locked

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

# Everything that has a state or draws on chance; 3 steps an epoch, of 2 batches of 2 images.
EVERYTHING = (
    *("--epochs", "3", "--batch_size", "2", "--accumulate", "2", "--lr", "0.01"),
    *("--dropout", "0.3", "--augment", "strong", "--ema", "0.9", "--clip_grad", "1"),
    *("--weight_decay", "0.01", "--warmup_epochs", "0.5", "--loss", "dice_ce"),
)
STEPS = 9


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(data_dir, folder, *EVERYTHING)
    return folder


def last(folder: Path) -> dict[str, Any]:
    return load_checkpoint(folder / "checkpoints" / "last.pt")


def scalars(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """What TensorBoard shows, by name; as text, since no NaN equals another."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # Files are read in the order of their names, which only seconds tell apart.
    ordered = folder.parent / f"{folder.name}_events"
    ordered.mkdir(exist_ok=True)
    files = sorted(folder.glob("events.*"), key=lambda path: path.stat().st_mtime_ns)
    for number, path in enumerate(files):
        shutil.copy(path, ordered / f"events.out.tfevents.{number:010d}")
    events = EventAccumulator(str(ordered)).Reload()
    names = sorted(set(events.Tags()["scalars"]) - {"images_per_second", "data_wait"})
    return {n: [(event.step, repr(event.value)) for event in events.Scalars(n)] for n in names}


def assert_equal_runs(folder: Path, whole: Path) -> None:
    """Checkpoints, numbers and reports are the same, to the last bit."""
    assert same(last(folder), last(whole))
    best = "checkpoints/best.pt"
    assert same(load_checkpoint(folder / best), load_checkpoint(whole / best))
    assert metrics(folder) == metrics(whole)
    assert scalars(folder) == scalars(whole)
    assert (folder / "report.json").read_bytes() == (whole / "report.json").read_bytes()


def call_at_step(monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[], None]) -> None:
    """Do something within the step that many steps from now."""
    step, calls = Learner.step, 0

    def step_and_act(self: Learner, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            action()
        return step(self, *args)

    monkeypatch.setattr(Learner, "step", step_and_act)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("step", "workers"), [(1, "0"), (3, "0"), (5, "2"), (STEPS, "0")])
def test_a_run_that_stopped_at_a_step_goes_on_from_that_very_step(
    data_dir: Path, whole: Path, tmp_path: Path, step: int, workers: str
) -> None:
    folder = tmp_path / "run"
    arguments = ["--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL, *EVERYTHING]
    with pytest.MonkeyPatch.context() as patch:
        call_at_step(patch, step, interrupt)
        assert train.main([*arguments, "--workers", workers]) == 130
    stopped = last(folder)
    assert 3 * stopped["epoch"] + stopped["step"] == step
    pictures = [path.name for path in (folder / "predictions").iterdir()]
    assert pictures == [f"epoch_{stopped['epoch'] + 1:04d}.png"]
    assert (folder / "report.json").exists() == (folder / "curves.png").exists() == (step > 3)
    assert train.main(["--resume", str(folder), "--workers", "0"]) == 0
    assert same({**last(folder), "args": 0}, {**last(whole), "args": 0})
    assert metrics(folder) == metrics(whole)
    assert scalars(folder) == scalars(whole)


def test_a_run_on_crops_goes_on_from_the_very_step_too(data_dir: Path, tmp_path: Path) -> None:
    flags = (*EVERYTHING, "--crop", "20")
    whole = run(data_dir, tmp_path / "whole", *flags)
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        call_at_step(patch, 4, interrupt)
        arguments = ["--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL, *flags]
        assert train.main([*arguments, "--workers", "1"]) == 130
    assert train.main(["--resume", str(folder), "--cache", "disk", "--workers", "0"]) == 0
    assert same({**last(folder), "args": 0}, {**whole, "args": 0})


@pytest.mark.slow
def test_a_frozen_encoder_thaws_at_the_same_step_wherever_the_run_stopped(
    data_dir: Path, tmp_path: Path
) -> None:
    from torchvision.models import resnet18

    torch.save(resnet18(weights=None).state_dict(), tmp_path / "weights.pth")
    flags = ["--encoder", "resnet18", "--encoder_weights", str(tmp_path / "weights.pth")]
    flags += ["--freeze_encoder", "2", "--epochs", "3", "--max_train_images", "8", "--ema", "0.9"]
    flags += ["--image_size", "32", "--max_val_images", "2"]  # two steps an epoch
    whole = run(data_dir, tmp_path / "whole", *flags)
    for step in (1, 4, 5):  # within the frozen epochs, at their end, after it
        folder = tmp_path / f"run{step}"
        arguments = ["--data_dir", str(data_dir), "--run_dir", str(folder), *TINY, *flags]
        with pytest.MonkeyPatch.context() as patch:
            call_at_step(patch, step, interrupt)
            assert train.main(arguments) == 130
        name, given = "encoder.layer1.0.conv1.weight", torch.load(tmp_path / "weights.pth")
        is_frozen = torch.equal(last(folder)["training_state"][name], given[name[8:]])
        assert is_frozen == (step <= 4)
        assert train.main(["--resume", str(folder), "--workers", "0"]) == 0
        assert same({**last(folder), "args": 0}, {**whole, "args": 0})
        assert metrics(folder) == metrics(tmp_path / "whole")


def test_a_run_stopped_many_times_equals_one_that_never_stopped(
    data_dir: Path, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    arguments = ["--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL, *EVERYTHING]
    for _ in range(STEPS):
        with pytest.MonkeyPatch.context() as patch:
            call_at_step(patch, 1, interrupt)
            assert train.main(arguments) == 130
        arguments = ["--resume", str(folder)]
    assert train.main(arguments) == 0
    assert_equal_runs(folder, whole)


def test_sigterm_stops_a_run_while_it_is_scored(
    data_dir: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, evaluate = tmp_path / "run", engine.evaluate

    def evaluate_and_stop(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*args)

    arguments = ["--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL, *EVERYTHING]
    with monkeypatch.context() as patch:
        patch.setattr(engine, "evaluate", evaluate_and_stop)
        assert train.main(arguments) == 143
    assert (last(folder)["epoch"], last(folder)["step"]) == (0, 3)
    assert train.main(["--resume", str(folder)]) == 0
    assert_equal_runs(folder, whole)


def test_a_run_that_died_between_two_files_loses_nothing(
    data_dir: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """metrics.csv, TensorBoard and best.pt know of an epoch that last.pt does not."""
    folder, save = tmp_path / "run", engine.save_checkpoint

    def save_or_die(path: Path, checkpoint: dict[str, Any]) -> None:
        if checkpoint["epoch"] == 2 and path.name == "last.pt":
            raise OSError(28, "No space left on device")
        save(path, checkpoint)

    arguments = ["--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL, *EVERYTHING]
    with monkeypatch.context() as patch:
        patch.setattr(engine, "save_checkpoint", save_or_die)
        assert train.main(arguments) == 1
    assert len(metrics(folder)) == 2
    assert last(folder)["epoch"] == 1
    assert train.main(["--resume", str(folder)]) == 0
    assert_equal_runs(folder, whole)


def test_a_second_ctrl_c_stops_at_once(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt_twice() -> None:
        interrupt()
        interrupt()

    call_at_step(monkeypatch, 2, interrupt_twice)
    folder = tmp_path / "run"
    arguments = ["--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL, *EVERYTHING]
    assert train.main([*arguments, "--checkpoint_steps", "1"]) == 130
    assert last(folder)["step"] == 1
    assert not list(folder.rglob(".*.tmp*"))


def kill_and_resume(data_dir: Path, folder: Path, seconds: float) -> bool:
    """Start a run, kill -9 it, go on; whether it was killed on the way."""
    arguments = ["--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL, *EVERYTHING]
    command = [sys.executable, "train.py", *arguments, "--checkpoint_steps", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=-3)
    wait_for_step(folder, process)
    time.sleep(seconds)
    process.kill()
    killed = process.wait() != 0
    assert train.main(["--resume", str(folder), "--checkpoint_steps", "1"]) == 0
    return killed


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    data_dir: Path, whole: Path, tmp_path: Path
) -> None:
    kill_and_resume(data_dir, tmp_path / "run", 0.0)
    resumed, expected = last(tmp_path / "run"), last(whole)
    assert same({**resumed, "args": 0}, {**expected, "args": 0})
    assert metrics(tmp_path / "run") == metrics(whole)
    assert scalars(tmp_path / "run") == scalars(whole)


@pytest.mark.slow
def test_runs_killed_at_20_random_moments_go_on_exactly(
    data_dir: Path, whole: Path, tmp_path: Path
) -> None:
    chance = random.Random(0)
    killed = 0
    for number in range(20):
        folder = tmp_path / str(number)
        killed += kill_and_resume(data_dir, folder, chance.uniform(0, 0.5))
        assert same({**last(folder), "args": 0}, {**last(whole), "args": 0})
        assert metrics(folder) == metrics(whole)
        assert not list(folder.rglob(".*.tmp*"))
    assert killed >= 10


def test_a_finished_run_can_be_extended_and_says_what_happens_to_the_learning_rate(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    run(data_dir, folder, "--epochs", "1")
    with caplog.at_level("INFO"):
        assert train.main(["--resume", str(folder), "--epochs", "3", "--device", "cpu"]) == 0
    assert "3 instead of 1: the learning rate now follows a cosine over 3" in caplog.text
    rows = metrics(folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["lr"]) for row in rows] == pytest.approx([1e-4, 0.75e-4, 0.25e-4])
    assert json.loads((folder / "args.json").read_text())["epochs"] == 3


def test_going_on_with_other_images_is_said_to_be_inexact(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    run(data_dir, folder, "--epochs", "1")
    other = write_data(tmp_path / "other")
    (other / "train2017" / "0.png").unlink()
    assert train.main(["--resume", str(folder), "--epochs", "2", "--data_dir", str(other)]) == 0
    assert "images or masks: 11 + 5 images" in caplog.text
    assert "before 12 + 5 images" in caplog.text
    assert "not exactly as if it had never stopped" in caplog.text


def test_going_on_with_other_masks_is_said_to_be_inexact_and_with_moved_data_is_not(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    run(data_dir, folder, "--epochs", "1")
    moved = tmp_path / "moved"
    shutil.copytree(data_dir, moved)
    assert train.main(["--resume", str(folder), "--epochs", "2", "--data_dir", str(moved)]) == 0
    assert "not exactly" not in caplog.text
    mask = moved / "masks_train" / "0.png"
    Image.fromarray(np.asarray(Image.open(mask)).clip(max=1)).save(mask)
    assert train.main(["--resume", str(folder), "--epochs", "3"]) == 0
    assert "images or masks: 12 + 5 images" in caplog.text


def test_other_batches_of_the_same_step_are_taken_and_other_steps_refused(
    data_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = str(tmp_path / "run")
    run(data_dir, tmp_path / "run", "--epochs", "1", "--batch_size", "4")
    flags = ["--resume", folder, "--epochs", "2"]
    assert train.main([*flags, "--batch_size", "2", "--accumulate", "2"]) == 0
    assert "images in a batch: 2, before 4: the run goes on, but not exactly" in caplog.text
    assert train.main([*flags, "--batch_size", "2", "--accumulate", "3"]) == 2
    assert "other images in a step (processes x --batch_size x --accumulate): 4, now 6" in (
        capsys.readouterr().err
    )


def test_going_back_is_refused_with_the_way_to_do_it(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(engine, "SAVE_EVERY", 1)
    whole, back = tmp_path / "run", tmp_path / "back"
    expected = run(data_dir, whole, "--epochs", "3")
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    early = whole / "checkpoints" / "epoch_0001.pt"
    assert train.main(["--resume", str(early)]) == 2
    told = capsys.readouterr().err
    assert f"{early} is of epoch 1, but the run went on to epoch 3" in told
    assert before == {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}

    script = told[told.index("mkdir") : told.index("; --resume")].replace("NEW", str(back))
    subprocess.run(["bash", "-ec", script], check=True)
    assert train.main(["--resume", str(back)]) == 0
    again = load_checkpoint(back / "checkpoints" / "last.pt")
    assert same(again["model_state"], expected["model_state"])
    assert metrics(back) == metrics(whole)


def test_a_run_without_its_best_checkpoint_gets_one_again(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "1")
    best = tmp_path / "run" / "checkpoints" / "best.pt"
    best.unlink()
    assert train.main(["--resume", str(tmp_path / "run"), "--epochs", "2"]) == 0
    assert f"{best} is missing" in caplog.text
    assert load_checkpoint(best)["epoch"] == 2


def test_only_the_newest_checkpoints_are_kept_on_request(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SAVE_EVERY", 1)
    run(data_dir, tmp_path / "run", "--epochs", "4", "--keep", "2")
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert names == {"best.pt", "last.pt", "epoch_0003.pt", "epoch_0004.pt"}


def test_flags_that_save_and_delete_nothing_are_told(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "12", "--keep", "1", "--checkpoint_steps", "3")
    assert "--checkpoint_steps 3: of no effect, as there are 3 steps" in caplog.text
    assert "--keep 1: of no effect, as there are 1 epoch_*.pt" in caplog.text


def test_a_run_ends_after_so_many_epochs_without_a_better_one(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        ended = run(data_dir, tmp_path / "run", "--epochs", "50", "--early_stop", "2")
    assert ended["epoch"] == ended["best_epoch"] + 2 < 50
    assert (tmp_path / "run" / "predictions" / f"epoch_{ended['epoch']:04d}.png").is_file()
    assert all((tmp_path / "run" / name).is_file() for name in ("curves.png", "report.json"))
    assert "no better epoch for 2 epochs: ended early" in caplog.text


def test_a_run_that_kept_images_in_memory_goes_on_with_a_file(
    data_dir: Path, tmp_path: Path
) -> None:
    run(data_dir, tmp_path, "--epochs", "1")
    settings = json.loads((tmp_path / "args.json").read_text())
    (tmp_path / "args.json").write_text(json.dumps({**settings, "cache": "ram"}))
    assert train.main(["--resume", str(tmp_path), "--epochs", "2"]) == 0
    assert last(tmp_path)["epoch"] == 2
    assert (data_dir / "masks_train" / ".images_16.cache").is_file()


def test_one_command_begins_a_run_goes_on_with_it_and_says_that_it_is_finished(
    data_dir: Path,
    whole: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"
    command = ["--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL, *EVERYTHING]
    command += ["--resume"]
    with monkeypatch.context() as patch:
        call_at_step(patch, 4, interrupt)
        assert train.main(command) == 130
    assert train.main(command) == 0
    assert_equal_runs(folder, whole)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    caplog.clear()
    with caplog.at_level("INFO"):
        assert train.main(command) == 0
    assert "this run is finished" in caplog.text
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_command_that_goes_on_may_say_what_its_run_began_from(
    data_dir: Path, tmp_path: Path
) -> None:
    run(data_dir, tmp_path / "old", "--epochs", "1")
    command = ["--data_dir", str(data_dir), "--run_dir", str(tmp_path / "new"), *SMALL]
    command += ["--init_from", str(tmp_path / "old"), "--resume", "--epochs"]
    assert train.main([*command, "1"]) == 0
    shutil.rmtree(tmp_path / "old")
    assert train.main([*command, "2"]) == 0
    assert last(tmp_path / "new")["epoch"] == 2


def test_a_run_may_be_named_twice_but_not_two_runs(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "1")
    resume = ["--resume", str(tmp_path / "run"), "--epochs", "2", "--run_dir"]
    with pytest.raises(SystemExit):
        train.main([*resume, str(tmp_path / "other")])
    assert f"goes on in {tmp_path / 'run'}, not in" in capsys.readouterr().err
    assert train.main([*resume, str(tmp_path / "old" / ".." / "run")]) == 0
    with pytest.raises(SystemExit):
        train.main(["--resume"])
    assert "name it: --resume RUN, or --run_dir DIR" in capsys.readouterr().err


def test_fewer_epochs_than_are_done_are_refused(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data_dir, tmp_path / "run", "--epochs", "2")
    assert train.main(["--resume", str(tmp_path / "run"), "--epochs", "1"]) == 2
    assert "--epochs 1: 2 are done" in capsys.readouterr().err
    assert last(tmp_path / "run")["epoch"] == 2


def test_a_run_goes_on_and_is_scored_without_the_file_that_its_encoder_came_from(
    data_dir: Path, tmp_path: Path
) -> None:
    from torchvision.models import resnet18

    file, moved = tmp_path / "weights.pth", tmp_path / "moved.pth"
    torch.save(resnet18(weights=None).state_dict(), file)
    few = ["--max_train_images", "4", "--max_val_images", "2", "--image_size", "64"]
    flags = [*few, "--encoder", "resnet18", "--encoder_weights", str(file), "--epochs"]
    run_dir = tmp_path / "run"
    common = ["--data_dir", str(data_dir), "--batch_size", "4", "--workers", "0"]
    assert train.main([*common, "--run_dir", str(run_dir), *flags, "1"]) == 0
    file.rename(moved)
    assert train.main(["--eval_only", str(run_dir)]) == 0
    for more in ([], ["--encoder_weights", str(moved)]):
        epochs = str(last(run_dir)["epoch"] + 1)
        assert train.main(["--resume", str(run_dir), "--epochs", epochs, *more]) == 0


def test_data_that_moved_is_asked_for_by_the_flag_that_takes_it(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data_dir, tmp_path / "data")
    run(tmp_path / "data", tmp_path / "run", "--epochs", "1")
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    shutil.move(tmp_path / "run", tmp_path / "moved")
    for flag in ("--resume", "--eval_only"):
        with pytest.raises(SystemExit):
            train.main([flag, str(tmp_path / "moved")])
        assert "no such folder; expected --data_dir" in capsys.readouterr().err
        there = [flag, str(tmp_path / "moved"), "--data_dir", str(tmp_path / "elsewhere")]
        assert train.main(there) == 0
    assert last(tmp_path / "moved")["epoch"] == 1


def test_a_run_of_an_older_network_goes_on_with_that_network(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, flags = "resnet_attention_unet", ("--encoder", "resnet18", "--batch_size", "6")
    with monkeypatch.context() as before:  # when new networks had no more arguments than flags
        before.setitem(MODELS, name, replace(MODELS[name], new={}))
        old = run(data_dir, tmp_path / "old", *flags, "--epochs", "1")
    assert old["model"] != run(data_dir, tmp_path / "new", *flags, "--epochs", "1")["model"]
    assert train.main(["--resume", str(tmp_path / "old"), "--epochs", "2"]) == 0
    gone_on = last(tmp_path / "old")
    assert gone_on["epoch"] == 2 and gone_on["model"] == old["model"]
    assert gone_on["model_state"].keys() == old["model_state"].keys()


@pytest.mark.parametrize("resumed", [False, True])
def test_a_second_training_on_a_folder_ends_and_says_who_is_at_work_there(
    data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], resumed: bool
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    if resumed:
        run(data_dir, folder, "--epochs", "1")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    new = ["--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL]
    with locked(folder / ".train.lock"):
        assert train.main(["--resume", str(folder), "--epochs", "2"] if resumed else new) == 1
        (folder / ".train.lock").rename(tmp_path / "lock")
        after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
        (tmp_path / "lock").rename(folder / ".train.lock")
    assert f"{folder} is in use by process {os.getpid()} on " in capfd.readouterr().err
    assert after == before


def test_a_folder_in_which_another_has_trained_since_the_flags_were_read_is_left_alone(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"

    @contextmanager
    def another_was_first(path: Path) -> Iterator[None]:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "last.pt").touch()
        yield

    monkeypatch.setattr("train.locked", another_was_first)
    flags = ["--data_dir", str(data_dir), "--run_dir", str(folder), "--resume", *SMALL]
    assert train.main(flags) == 2
    assert "last.pt is there and would be replaced" in capfd.readouterr().err
    assert (folder / "checkpoints" / "last.pt").read_bytes() == b""
