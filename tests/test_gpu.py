"""What only a CUDA device can show: run with -m gpu on a machine that has one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training import metrics, run, write_data

import train
from losses.simple import SimpleLoss
from models import build_model
from models.checkpoint import load_checkpoint
from models.learner import Learner
from runtime.devices import Machine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
BATCH = (
    torch.randint(
        0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    ),
    torch.randint(0, 5, (4, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)),
)


def losses(device: str, amp: torch.dtype | None) -> list[float]:
    """Of ten steps."""
    torch.manual_seed(0)
    model = build_model("residual_attention_unet", num_labels=5, features=(8, 16))
    learner = Learner(model, SimpleLoss(255), Machine(torch.device(device), amp))
    learner.model.train()
    return [float(learner.step(iter([BATCH]), 1, lr=1e-3)) for _ in range(10)]


@pytest.mark.parametrize("amp", [None, torch.bfloat16, torch.float16])
def test_steps_on_the_gpu_are_those_of_the_cpu(amp: torch.dtype | None) -> None:
    assert losses("cuda", amp) == pytest.approx(losses("cpu", None), rel=0.02)


def test_a_run_trains_resumes_and_is_scored_on_the_gpu(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    folder = tmp_path / "run"
    run(data, folder, "--epochs", "2", "--device", "cuda", "--amp", "auto", "--ema", "0.9")
    assert train.main(["--resume", str(folder), "--epochs", "3"]) == 0
    assert [row["epoch"] for row in metrics(folder)] == ["1", "2", "3"]
    assert train.main(["--eval_only", str(folder), "--device", "cuda"]) == 0
    assert all(
        t.device.type == "cpu"
        for t in load_checkpoint(folder / "checkpoints" / "last.pt")["model_state"].values()
    )
