"""A model over a data set, in one process and in two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from losses.simple import SimpleLoss
from metrics.evaluation import Evaluation, evaluate
from runtime.devices import Machine, World

IGNORE = 255
C = 4
CPU = Machine()
Batches = list[tuple[Tensor, Tensor]]
LOSSES = {"simple": SimpleLoss(IGNORE), "twice": lambda *args: 2 * SimpleLoss(IGNORE)(*args)}


class Brightness(nn.Module):
    """Logits from a 1x1 convolution of uint8 images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, C, 1)
        self.modes: list[bool] = []
        self.dtypes: list[torch.dtype] = []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.convolution(images.to(self.convolution.weight.dtype) / 255)
        self.modes.append(self.training)
        self.dtypes.append(logits.dtype)
        return logits


def make_batches(*sizes: int) -> Batches:
    """Batches of so many images, with ignored pixels and without label 3."""
    generator = torch.Generator().manual_seed(1)
    batches = []
    for size in sizes:
        images = torch.randint(0, 256, (size, 3, 4, 6), dtype=torch.uint8, generator=generator)
        label_map = torch.randint(0, C - 1, (size, 4, 6), dtype=torch.uint8, generator=generator)
        label_map[:, 0, :2] = IGNORE
        batches.append((images, label_map))
    return batches


def run(batches: Batches, model: nn.Module | None = None) -> Evaluation:
    return evaluate(model or Brightness(), batches, LOSSES, CPU, C, IGNORE)


def test_every_pixel_counts_once_however_images_come_in_batches() -> None:
    model, batches = Brightness().train(), make_batches(3, 1)
    batches[0][1][0] = IGNORE  # one batch has fewer pixels an image than the other
    result = run(batches, model)

    counts, total = torch.zeros(C, C, dtype=torch.int64), 0.0
    for images, label_maps in batches:
        logits = model.convolution(images.float() / 255)
        total += torch.nn.functional.cross_entropy(
            logits, label_maps.long(), ignore_index=IGNORE, reduction="sum"
        ).item()
        for n in range(len(images)):
            for y in range(4):
                for x in range(6):
                    if label_maps[n, y, x] != IGNORE:
                        counts[label_maps[n, y, x].int(), logits[n, :, y, x].argmax()] += 1
    assert torch.equal(result.counts, counts)
    mean = total / int(counts.sum())
    assert result.loss_sums == pytest.approx({"simple": total, "twice": 2 * total}, rel=1e-6)
    assert result.losses == pytest.approx({"simple": mean, "twice": 2 * mean}, rel=1e-6)


def test_the_model_evaluates_and_is_left_in_the_mode_it_came_in() -> None:
    for training in (True, False):
        model = Brightness().train(training)
        run(make_batches(1, 1), model)
        assert model.modes == [False, False]
        assert model.training is training


def test_amp_lets_the_model_compute_in_another_type_but_not_the_loss() -> None:
    model, seen = Brightness(), []
    seen_loss = SimpleLoss(IGNORE)
    seen_loss.register_forward_hook(
        lambda _m, _i, output: seen.append((output.dtype, torch.is_autocast_enabled("cpu")))
    )
    batches, machine = make_batches(2), Machine(amp=torch.bfloat16)
    result = evaluate(model, batches, {"seen": seen_loss}, machine, C, IGNORE)
    assert model.dtypes == [torch.bfloat16]
    assert seen == [(torch.float32, False)]
    assert result.losses["seen"] == pytest.approx(run(batches).losses["simple"], rel=0.02)


def test_every_batch_is_sent_before_the_first_result_is_asked_for() -> None:
    sent = []

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for number, batch in enumerate(make_batches(2, 2, 1)):
            sent.append(number)
            yield batch

    meta = torch.device("meta")  # computes shapes alone: asking for a value is an error
    with pytest.raises(RuntimeError, match="meta"):
        evaluate(Brightness().to(meta), batches(), LOSSES, Machine(meta), C, IGNORE)
    assert sent == [0, 1, 2]


def test_no_images_have_no_loss_and_no_pixel() -> None:
    nothing = run([])
    assert nothing.losses == {"simple": 0, "twice": 0} and nothing.counts.sum() == 0


def test_a_process_alone_reduces_to_itself() -> None:
    alone = run(make_batches(2))
    reduced = alone.reduce(World())
    assert reduced.loss_sums == alone.loss_sums
    assert torch.equal(reduced.counts, alone.counts)


SHARDS = (((0, 2), (1,)), ((0, 1, 2), ()))  # batches of each of two processes


def _evaluate_shards(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    batches, world = make_batches(3, 2, 1), World(rank, 2)
    results = [run([batches[i] for i in shards[rank]]).reduce(world) for shards in SHARDS]
    torch.save([(r.loss_sums, r.counts) for r in results], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_count_exactly_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(_evaluate_shards, (str(tmp_path),), nprocs=2)
    whole = run(make_batches(3, 2, 1))
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for (loss, counts), (same_loss, same_counts) in zip(*ranks, strict=True):
        assert torch.equal(counts, whole.counts) and torch.equal(same_counts, whole.counts)
        assert loss == same_loss == pytest.approx(whole.loss_sums, rel=1e-12)
