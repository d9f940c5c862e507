"""A network at work: precision, mirror images, batches that do not fit."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest
import torch
from inference_command import make_run, plain_model
from torch import Tensor, nn

from models.execution import Evaluator, Network
from models.prediction import View
from runtime.devices import Machine

CPU = Machine()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return plain_model(make_run(tmp_path_factory.mktemp("run") / "run"))


def images(count: int, size: int = 16) -> Tensor:
    chance = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=chance, dtype=torch.uint8)


@torch.no_grad()
def test_plain_logits_are_those_of_the_network_and_others_are_near(model: nn.Module) -> None:
    batch = images(1)
    expected = model(batch)
    assert torch.equal(Evaluator(model, CPU, plain=True)(batch), expected)
    fast = Evaluator(model, CPU)(batch)
    assert torch.allclose(fast, expected, atol=1e-5) and fast.is_contiguous()
    mixed = Evaluator(model, Machine(amp=torch.bfloat16))(batch)
    assert mixed.dtype == torch.float32
    assert 0 < (mixed - expected).abs().max() < 0.1 * expected.std()
    assert next(model.parameters()).dtype == torch.float32  # the original is left as it is


@torch.no_grad()
def test_flipping_averages_with_the_mirror_image(model: nn.Module) -> None:
    batch = images(2)
    forward = Evaluator(model, CPU, plain=True, flip=True)
    expected = (model(batch) + model(batch.flip(-1)).flip(-1)) / 2
    assert torch.equal(forward(batch), expected)
    assert torch.equal(forward(batch.flip(-1)), expected.flip(-1))


def logits_of(network: Network, images: Iterable[Tensor]) -> list[Tensor]:
    found = list(network.stream(enumerate(images), lambda logits, image: logits))
    assert [key for key, _ in found] == list(range(len(found)))
    return [logits for _, logits in found]


def test_threads_compute_every_crop_alone_and_on_one_thread_each() -> None:
    seen: set[tuple[int, int, str]] = set()

    def forward(batch: Tensor) -> Tensor:
        seen.add((len(batch), torch.get_num_threads(), threading.current_thread().name))
        return batch.float()

    before = torch.get_num_threads()
    network = Network(forward, View(16, 16), 2)
    crops = [image[:, : 9 + number] for number, image in enumerate(images(7))]
    logits = logits_of(network, crops)
    network.pool.shutdown()
    assert {(count, threads) for count, threads, _ in seen} == {(1, 1)}
    assert torch.get_num_threads() == before
    assert [tuple(part.shape) for part in logits] == [(3, 16, 16)] * 7


class SmallMemory:
    """Runs out of memory above so many images."""

    def __init__(self, most: int, error: type[RuntimeError]) -> None:
        self.most = most
        self.error = error
        self.batches: list[int] = []

    def __call__(self, batch: Tensor) -> Tensor:
        self.batches.append(len(batch))
        if len(batch) > self.most:
            raise self.error("CUDA out of memory. Tried to allocate 9 GiB")
        return batch.float() * 2


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError, RuntimeError])
def test_a_batch_that_does_not_fit_is_halved_until_it_does_with_a_line_each(
    error: type[RuntimeError], caplog: pytest.LogCaptureFixture
) -> None:
    forward = SmallMemory(3, error)
    network = Network(forward, View(16, 16), threads=2, batch_size=16)
    crops = list(images(20))
    logits = logits_of(network, crops)
    assert torch.equal(torch.stack(logits), torch.stack(crops).float() * 2)
    assert forward.batches == [16, 8, 4, *[2] * 10]
    assert [record.message for record in caplog.records] == [
        "16 images do not fit in GPU memory; now 8 at a time",
        "8 images do not fit in GPU memory; now 4 at a time",
        "4 images do not fit in GPU memory; now 2 at a time",
    ]
    logits_of(network, crops[:4])
    assert forward.batches[-2:] == [2, 2]  # it has learned


def test_a_single_image_that_does_not_fit_is_an_error_that_says_what_to_do() -> None:
    network = Network(SmallMemory(0, RuntimeError), View(16, 16), threads=1, batch_size=2)
    with pytest.raises(RuntimeError, match="smaller --image_size, or use --device cpu"):
        logits_of(network, images(2))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def broken(batch: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        logits_of(Network(broken, View(16, 16), 1, batch_size=2), images(2))
