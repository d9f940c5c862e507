"""Several processes on one machine, over Gloo: they learn and score what one process does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn
from training import ROOT, SMALL, metrics, same, wait_for_step, write_data

import train
from losses.simple import SimpleLoss
from models.checkpoint import load_checkpoint
from models.learner import Learner
from runtime.devices import Machine, World, process_group, world_of_environment

CPU = torch.device("cpu")
FLAGS = (
    "--epochs",
    "3",
    "--dropout",
    "0.2",
    "--augment",
    "light",
    "--batch_size",
    "2",
    "--ema",
    "0.9",
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def start(*flags: str) -> subprocess.Popen[str]:
    """Two processes of train.py."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    arguments = [*torchrun, "--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*arguments, "localhost:0", "train.py", *flags],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What the processes said; they must have ended well."""
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def pair_run(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run by two processes, and what they said."""
    folder = tmp_path_factory.mktemp("pair") / "run"
    arguments = ("--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL, *FLAGS)
    return folder, finish(start(*arguments))


def small_network() -> nn.Module:
    """Without batch norm, whose statistics each process has of its own part of the batch."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 4, 1))


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (4, 2, 3, 8, 8), generator=generator).float() / 255
    return list(zip(images, torch.randint(0, 4, (4, 2, 8, 8), generator=generator), strict=True))


def gradients(world: World, parts: list[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
    """Of one step over batches."""
    learner = Learner(small_network(), SimpleLoss(255), Machine(world=world))
    learner.optimizer.zero_grad = lambda *args, **kwargs: None  # keep them, to be looked at
    learner.step(iter(parts), len(parts), lr=0.1)
    return [weight.grad for weight in learner.model.parameters() if weight.grad is not None]


def weights_after_freezing(
    world: World, parts: list[tuple[torch.Tensor, torch.Tensor]]
) -> list[torch.Tensor]:
    """Of one step with a frozen encoder, and one without."""
    model = nn.Sequential(OrderedDict(encoder=small_network()[0], head=nn.Conv2d(8, 4, 1)))
    learner = Learner(model, SimpleLoss(255), Machine(world=world))
    for number, frozen in enumerate((True, False)):
        learner.train(frozen_encoder=frozen)
        learner.step(iter(parts[number::2]), 1, lr=0.01)
    return [weight.detach() for weight in model.parameters()]


def _gradients_of_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=Path(folder, "port").read_text())
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2")
    world = world_of_environment(os.environ)
    with process_group(world, CPU):
        # Row by row: each process has one batch of two in each row.
        own = batches()[rank::2]
        found = (gradients(world, own), weights_after_freezing(world, own))
        torch.save(found, f"{folder}/{rank}.pt")


def test_a_step_of_two_processes_has_the_gradients_of_one_with_twice_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(_gradients_of_rank, (str(tmp_path),), nprocs=2)
    (a, x), (b, y), (c, u), (d, v) = batches()
    rows = [(torch.cat((a, b)), torch.cat((x, y))), (torch.cat((c, d)), torch.cat((u, v)))]
    whole = gradients(World(), rows)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    kinds = zip(*ranks, (whole, weights_after_freezing(World(), rows)), strict=True)
    for of_one, of_other, expected in kinds:
        for one, other, alone in zip(of_one, of_other, expected, strict=True):
            assert torch.equal(one, other)
            torch.testing.assert_close(one, alone, rtol=1e-5, atol=1e-7)


GROUP_AND_NETWORK = """
import os
from pathlib import Path
import torch
from torch.nn.parallel import DistributedDataParallel
from runtime.devices import process_group, world_of_environment

def train():
    network = DistributedDataParallel(torch.nn.Linear(2, 2))
    network(torch.ones(1, 2)).sum().backward()
    network.closure = lambda: network  # a cycle: it goes when garbage is collected

with process_group(world_of_environment(os.environ), torch.device("cpu")):
    train()
print(*(task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="lists threads as Linux does")
def test_no_thread_outlives_its_process_group() -> None:
    # One that did would abort the process, now and then, as the interpreter ends.
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    common |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "PYTHONPATH": str(ROOT)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", GROUP_AND_NETWORK],
            env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    threads = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert all("python" in names and "gloo" not in names for names in threads), threads


def test_rank_0_alone_writes_and_speaks(pair_run: tuple[Path, str]) -> None:
    folder, said = pair_run
    assert len(list(folder.glob("events.*"))) == 1
    assert [row["epoch"] for row in metrics(folder)] == ["1", "2", "3"]
    assert said.count("epoch 3/3") == 1


def test_scores_are_exactly_those_of_one_process(
    pair_run: tuple[Path, str], data_dir: Path, tmp_path: Path
) -> None:
    folder, _ = pair_run
    counts = load_checkpoint(folder / "checkpoints" / "best.pt")["best_counts"]["val"]
    assert counts.sum() == 5 * 16 * 16  # each validation image once
    seen = {}

    def keep(found: torch.Tensor, names: object, **_: object) -> str:
        seen["counts"] = found
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metrics.scores.score_table", keep)
        assert train.main(["--eval_only", str(folder), "--workers", "0"]) == 0
    assert torch.equal(seen["counts"], counts)


def test_a_job_that_was_stopped_goes_on_as_if_it_had_not(
    pair_run: tuple[Path, str], data_dir: Path, tmp_path: Path
) -> None:
    whole, _ = pair_run
    folder = tmp_path / "run"
    arguments = ("--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL, *FLAGS)
    job = start(*arguments, "--checkpoint_steps", "1")
    last = folder / "checkpoints" / "last.pt"
    wait_for_step(folder, job)
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=60)
    finish(start("--resume", str(folder)))
    expected = load_checkpoint(whole / "checkpoints" / "last.pt")
    assert same({**load_checkpoint(last), "args": 0}, {**expected, "args": 0})
    assert metrics(folder) == metrics(whole)


def test_a_process_that_is_killed_ends_the_job_within_a_minute(
    data_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    arguments = ("--data_dir", str(data_dir), "--run_dir", str(folder), *SMALL)
    job = start(*arguments, "--epochs", "10000")
    wait_for_step(folder, job)
    listed = subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True)
    os.kill(int(listed.stdout.split()[-1]), signal.SIGKILL)
    start_time = time.monotonic()
    said, _ = job.communicate(timeout=60)
    assert time.monotonic() - start_time < 60
    assert job.returncode != 0
    assert "Signal 9 (SIGKILL)" in said
    load_checkpoint(folder / "checkpoints" / "last.pt")


def test_the_environment_of_torchrun_is_taken_or_refused() -> None:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    assert world_of_environment({}) == World()
    environment = dict(zip(names, ("5", "8", "1", "4"), strict=True))
    assert world_of_environment(environment) == World(5, 8, 1, 4)
    with pytest.raises(ValueError, match="start several processes with torchrun"):
        world_of_environment({"WORLD_SIZE": "2"})
