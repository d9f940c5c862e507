"""A step of training, against the same step written out with PyTorch's own parts."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from losses.simple import SimpleLoss
from models.learner import Learner, learning_rate
from runtime.devices import Machine

CPU = Machine()
IGNORE = 255


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 4, 1))


def batch(seed: int, size: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(size, 3, 8, 8, generator=generator)
    return images, torch.randint(0, 4, (size, 8, 8), generator=generator, dtype=torch.uint8)


def weights(model: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in model.parameters()]


def assert_close(learned: nn.Module, expected: nn.Module) -> None:
    for one, other in zip(weights(learned), weights(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_steps_without_weight_decay_are_those_of_adam() -> None:
    learner, model = Learner(network(), SimpleLoss(IGNORE), CPU), network()
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    for seed in range(5):
        images, label_map = batch(seed)
        loss = learner.step(iter([(images, label_map)]), 1, lr=0.01)
        adam.zero_grad()
        expected = nn.functional.cross_entropy(model(images), label_map.long())
        expected.backward()
        adam.step()
        torch.testing.assert_close(loss, expected.detach())
    assert_close(learner.model, model)


def test_accumulated_batches_are_one_batch() -> None:
    one, two = (Learner(network(), SimpleLoss(IGNORE), CPU, clip_grad=0.1) for _ in range(2))
    for seed in range(3):
        images, label_map = batch(seed)
        loss = one.step(iter([(images, label_map)]), 1, lr=0.01)
        halves = zip(images.chunk(2), label_map.chunk(2), strict=True)
        torch.testing.assert_close(two.step(halves, 2, lr=0.01), loss)
    assert_close(one.model, two.model)


def test_images_of_accumulated_batches_weigh_the_same_whatever_the_size_of_their_batch() -> None:
    one, two = (Learner(network(), SimpleLoss(IGNORE), CPU) for _ in range(2))
    images, label_map = batch(0)
    label_map = label_map.where(label_map != IGNORE, 0)  # all images have as many pixels
    parts = [(images[:1], label_map[:1]), (images[1:], label_map[1:])]
    loss = one.step(iter([(images, label_map)]), 1, lr=0.01)
    torch.testing.assert_close(two.step(iter(parts), 2, lr=0.01), loss)
    assert_close(one.model, two.model)


def test_gradients_are_clipped_by_their_norm() -> None:
    learner, model = Learner(network(), SimpleLoss(IGNORE), CPU, clip_grad=0.05), network()
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    for seed in range(3):
        images, label_map = batch(seed)
        learner.step(iter([(images, label_map)]), 1, lr=0.01)
        adam.zero_grad()
        nn.functional.cross_entropy(model(images), label_map.long()).backward()
        norm = torch.stack([w.grad.norm() for w in model.parameters() if w.grad is not None]).norm()
        for weight in model.parameters():
            assert weight.grad is not None
            weight.grad *= min(1.0, 0.05 / (float(norm) + 1e-6))
        adam.step()
    assert_close(learner.model, model)


def test_only_weights_of_two_or_more_dimensions_decay() -> None:
    learner = Learner(network(), SimpleLoss(IGNORE), CPU, weight_decay=0.5)
    with torch.no_grad():
        for weight in learner.model.parameters():
            weight.fill_(1.0)
    ignored = torch.full((1, 8, 8), IGNORE, dtype=torch.uint8)  # no gradient: decay alone
    learner.step(iter([(torch.zeros(1, 3, 8, 8), ignored)]), 1, lr=0.1)
    for weight in learner.model.parameters():
        expected = torch.full_like(weight, 0.95 if weight.ndim > 1 else 1.0)
        torch.testing.assert_close(weight.detach(), expected)


def with_encoder() -> nn.Module:
    torch.manual_seed(3)
    layers = {"encoder": nn.Conv2d(3, 4, 3, padding=1), "head": nn.Conv2d(4, 4, 1)}
    return nn.Sequential(OrderedDict(layers))


def test_the_encoder_learns_at_its_own_rate_also_after_a_checkpoint() -> None:
    learner, model = (
        Learner(with_encoder(), SimpleLoss(IGNORE), CPU, encoder_lr=0.1),
        with_encoder(),
    )
    inner = [w for name, w in model.named_parameters() if name.startswith("encoder.")]
    outer = [w for name, w in model.named_parameters() if not name.startswith("encoder.")]
    adam = torch.optim.Adam([{"params": inner, "lr": 0.001}, {"params": outer, "lr": 0.01}])
    for seed in range(4):
        images, label_map = batch(seed)
        learner.step(iter([(images, label_map)]), 1, lr=0.01)
        adam.zero_grad()
        nn.functional.cross_entropy(model(images), label_map.long()).backward()
        adam.step()
        state = copy.deepcopy(learner.state_dict())
        learner = Learner(with_encoder(), SimpleLoss(IGNORE), CPU, encoder_lr=0.1)
        learner.load_state_dict(state)
    assert_close(learner.model, model)
    assert inner and outer


def normed_encoder() -> nn.Module:
    torch.manual_seed(3)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
    return nn.Sequential(OrderedDict(encoder=encoder, head=nn.Conv2d(4, 4, 1)))


def test_a_frozen_encoder_keeps_weights_and_batch_statistics_until_it_is_let_go() -> None:
    learner = Learner(normed_encoder(), SimpleLoss(IGNORE), CPU, weight_decay=0.1, ema=0.5)
    before = copy.deepcopy(learner.model.state_dict())

    def moved() -> set[str]:
        now = learner.model.state_dict().items()
        return {name.split(".")[0] for name, value in now if not torch.equal(value, before[name])}

    learner.train(frozen_encoder=True)
    for seed in range(2):
        learner.step(iter([batch(seed)]), 1, lr=0.01)
    assert moved() == {"head"}
    state = copy.deepcopy(learner.state_dict())
    other = Learner(normed_encoder(), SimpleLoss(IGNORE), CPU, weight_decay=0.1, ema=0.5)
    other.load_state_dict(state)
    for each in (learner, other):
        each.train(frozen_encoder=True)
        each.step(iter([batch(2)]), 1, lr=0.01)
        each.train()
        each.step(iter([batch(3)]), 1, lr=0.01)
    assert moved() == {"head", "encoder"}
    for one, same in zip(weights(learner.model), weights(other.model), strict=True):
        assert torch.equal(one, same)


@pytest.mark.parametrize("ema", [0.1, 0.25, 0.9])
def test_averaged_weights_are_the_exponential_average_that_forgets_its_start(ema: float) -> None:
    learner = Learner(network(), SimpleLoss(IGNORE), CPU, ema=ema)
    expected: list[Tensor] = []
    for done, decay in enumerate([0.0, 2 / 11, 3 / 12, 4 / 13]):  # then as large as asked for
        learner.step(iter([batch(done)]), 1, lr=0.05)
        now = weights(learner.model)
        decay = min(ema, decay)
        pairs = zip(expected or now, now, strict=True)
        expected = [decay * average + (1 - decay) * new for average, new in pairs]
    for one, other in zip(weights(learner.evaluated), expected, strict=True):
        torch.testing.assert_close(one, other)
    assert learner.evaluated is not learner.model


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_learner_that_was_saved_goes_on_exactly(ema: float) -> None:
    whole = Learner(network(), SimpleLoss(IGNORE), CPU, ema=ema, weight_decay=0.1)
    for seed in range(2):
        whole.step(iter([batch(seed)]), 1, lr=0.01)
    state = copy.deepcopy(whole.state_dict())  # as a file would be
    other = Learner(network(), SimpleLoss(IGNORE), CPU, ema=ema, weight_decay=0.1)
    other.load_state_dict(state)
    for learner in (whole, other):
        learner.step(iter([batch(9)]), 1, lr=0.01)
    for one, same in zip(weights(whole.evaluated), weights(other.evaluated), strict=True):
        assert torch.equal(one, same)


def test_bf16_learns_nearly_the_same() -> None:
    exact, fast = (
        Learner(network(), SimpleLoss(IGNORE), Machine(amp=amp)) for amp in (None, torch.bfloat16)
    )
    images, label_map = batch(0)
    for _ in range(20):
        losses = [
            float(learner.step(iter([(images, label_map)]), 1, lr=0.01))
            for learner in (exact, fast)
        ]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert all(weight.dtype == torch.float32 for weight in fast.model.parameters())


def test_the_rate_rises_evenly_and_then_falls_as_the_cosine_annealing_of_torch() -> None:
    steps, warmup, epochs = 10, 2, 6
    rates = [
        learning_rate(0.5, step / steps, epochs, warmup, steps) for step in range(epochs * steps)
    ]
    rise = [0.5 * (step + 1) / (warmup * steps) for step in range(warmup * steps)]
    assert rates[: warmup * steps] == pytest.approx(rise)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, (epochs - warmup) * steps)
    for rate in rates[warmup * steps :]:
        assert rate == pytest.approx(annealing.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        annealing.step()


def test_a_run_that_only_warms_up_has_a_rate_too() -> None:
    assert [learning_rate(1.0, step / 2, 1, 1, 2) for step in range(2)] == [0.5, 1.0]
