"""A checkpoint whose unpickling would run a program: nothing that takes a checkpoint runs it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from inference_command import make_run, write_noise
from training import SMALL, run, write_data

import inference
import train
from models import export

MARK = "was-here"
COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "inference": (inference.main, "--images_dir {photos} --checkpoint {file} --output_dir {out}"),
    "--init_from": (train.main, "--data_dir {data} --run_dir {out} {small} --init_from {file}"),
    "--encoder_weights": (
        train.main,
        "--data_dir {data} --run_dir {out} --encoder resnet18 --image_size 64 --workers 0 "
        "--encoder_weights {file}",
    ),
    "--resume": (train.main, "--resume {run} --workers 0"),
    "--eval_only": (train.main, "--data_dir {data} --eval_only {file} --workers 0"),
    "models.export": (export.main, "{file} {out}.pt2"),
}


class Hostile:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.place / MARK), "x")


def as_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("save", [torch.save, as_pickle])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_runs_what_a_checkpoint_carries(
    data: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    save: Callable[[object, Path], None],
) -> None:
    own = tmp_path / "run"
    if name == "--resume":
        run(data, own, "--epochs", "1")
    else:
        make_run(own)
    file = own / "checkpoints" / ("last.pt" if name == "--resume" else "best.pt")
    save({**torch.load(file, weights_only=True), "epoch": Hostile(tmp_path)}, file)
    command, words = COMMANDS[name]
    places = {"photos": write_noise(tmp_path / "in", 1), "file": file, "out": tmp_path / "out"}
    words = words.format(**places, data=data, small=" ".join(SMALL), run=own)
    assert command(words.split()) == 2
    assert not (tmp_path / MARK).exists()
    told = capfd.readouterr().err
    assert f"{file} cannot be read as" in told
    assert "Traceback" not in told


def test_what_is_tried_would_run(tmp_path: Path) -> None:
    torch.save({"epoch": Hostile(tmp_path)}, tmp_path / "file.pt")
    loaded = torch.load(tmp_path / "file.pt", weights_only=False)
    loaded["epoch"].close()
    assert (tmp_path / MARK).exists()
