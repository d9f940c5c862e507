"""The losses, against torch.nn.functional, slow loops and cases counted by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from losses import LOSSES, OPTIONS, build_loss, option_help, options_of
from losses.dice_cross_entropy import dice_loss
from losses.weighted_cross_entropy import label_weights

IGNORE = 255
LABEL_PIXELS = torch.tensor([800, 150, 50, 0])


def batch(num_labels: int = 4, ignored: float = 0.3) -> tuple[Tensor, Tensor]:
    """Random logits and a label map without the last label and with some pixels ignored."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, num_labels, 5, 6, generator=generator) * 2
    label_map = torch.randint(0, num_labels - 1, (2, 5, 6), generator=generator)
    label_map[torch.rand(2, 5, 6, generator=generator) < ignored] = IGNORE
    return logits.requires_grad_(), label_map


def slow_dice_loss(logits: Tensor, label_map: Tensor) -> float:
    """Pixel by pixel, label by label, in Python numbers."""
    per_label = []
    N, C, H, W = logits.shape
    for c in range(C):
        overlap = predicted = truth = 0.0
        for n in range(N):
            for y in range(H):
                for x in range(W):
                    if label_map[n, y, x] == IGNORE:
                        continue
                    scores = [math.exp(float(logits[n, k, y, x])) for k in range(C)]
                    probability = scores[c] / sum(scores)
                    is_label = float(label_map[n, y, x] == c)
                    overlap += probability * is_label
                    predicted += probability
                    truth += is_label
        if truth:
            per_label.append(1 - 2 * overlap / (predicted + truth))
    return sum(per_label) / len(per_label)


def test_simple_is_the_cross_entropy_of_torch() -> None:
    logits, label_map = batch()
    expected = F.cross_entropy(logits, label_map, ignore_index=IGNORE)
    torch.testing.assert_close(
        build_loss("simple", LABEL_PIXELS, IGNORE)(logits, label_map), expected
    )


def test_weighted_ce_is_the_weighted_cross_entropy_of_torch() -> None:
    logits, label_map = batch()
    weights = label_weights(LABEL_PIXELS, 0.5, 10)
    expected = F.cross_entropy(logits, label_map, weight=weights, ignore_index=IGNORE)
    loss = build_loss("weighted_ce", LABEL_PIXELS, IGNORE)
    torch.testing.assert_close(loss(logits, label_map), expected)


def test_dice_loss_equals_a_loop_over_pixels() -> None:
    logits, label_map = batch()
    expected = slow_dice_loss(logits.detach(), label_map)
    assert dice_loss(logits, label_map, IGNORE).item() == pytest.approx(expected, rel=1e-5)


def test_dice_ce_is_the_sum_of_its_parts() -> None:
    logits, label_map = batch()
    expected = F.cross_entropy(logits, label_map, ignore_index=IGNORE) + slow_dice_loss(
        logits.detach(), label_map
    )
    loss = build_loss("dice_ce", LABEL_PIXELS, IGNORE)
    torch.testing.assert_close(loss(logits, label_map), expected)


def test_dice_loss_is_zero_for_a_perfect_prediction_that_lacks_a_label() -> None:
    label_map = torch.tensor([[[0, 0, 1, 1]]])
    logits = 100.0 * F.one_hot(label_map, 3).movedim(-1, 1)
    assert float(dice_loss(logits, label_map, IGNORE)) == pytest.approx(0, abs=1e-6)


def test_dice_loss_by_hand() -> None:
    # Even scores on four pixels, three of label 0: Dice is 2 * 1.5 / (2 + 3) and 2 * .5 / (2 + 1).
    logits, label_map = torch.zeros(1, 2, 2, 2), torch.tensor([[[0, 0], [0, 1]]])
    expected = ((1 - 3 / 5) + (1 - 1 / 3)) / 2
    assert float(dice_loss(logits, label_map, IGNORE)) == pytest.approx(expected)


@pytest.mark.parametrize("name", LOSSES)
def test_a_label_absent_from_the_batch_gives_finite_gradients(name: str) -> None:
    logits, label_map = batch()
    with torch.no_grad():
        logits[:, 3] = -200  # so sure that it is absent that its probability is exactly 0
    build_loss(name, LABEL_PIXELS, IGNORE)(logits, label_map).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_change_neither_loss_nor_gradient(name: str) -> None:
    logits, label_map = batch()
    loss = build_loss(name, LABEL_PIXELS, IGNORE)
    loss(logits, label_map).backward()
    other = logits.detach().clone()
    ignored = (label_map == IGNORE).unsqueeze(1).expand_as(other)
    other[ignored] = torch.randn(int(ignored.sum()))
    other.requires_grad_()
    changed = loss(other, label_map)
    changed.backward()
    torch.testing.assert_close(changed, loss(logits, label_map))
    torch.testing.assert_close(other.grad, logits.grad)
    assert ignored.any()
    assert (logits.grad[ignored] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_ignored_pixels_only_has_loss_and_gradient_zero(name: str) -> None:
    logits = torch.randn(1, 4, 3, 3, requires_grad=True)
    loss = build_loss(name, LABEL_PIXELS, IGNORE)(logits, torch.full((1, 3, 3), IGNORE))
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_against_the_gradient_lowers_the_loss(name: str) -> None:
    logits, label_map = batch()
    loss = build_loss(name, LABEL_PIXELS, IGNORE)
    before = loss(logits, label_map)
    before.backward()
    assert loss(logits - 0.1 * logits.grad, label_map) < before


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_give_a_float32_loss(name: str) -> None:
    logits, label_map = batch()
    loss = build_loss(name, LABEL_PIXELS, IGNORE)
    half = loss(logits.detach().bfloat16(), label_map)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(logits.detach().bfloat16().float(), label_map))


def test_label_weights_are_the_root_of_median_over_pixels() -> None:
    weights = label_weights(torch.tensor([900, 100, 25]), 0.5, 10)
    assert weights.tolist() == pytest.approx([1 / 3, 1, 2])


def test_the_median_leaves_out_labels_without_pixels_which_weigh_one() -> None:
    assert label_weights(torch.tensor([0, 100, 0, 0, 400]), 0.5, 10).tolist() == pytest.approx(
        [1, (250 / 100) ** 0.5, 1, 1, (250 / 400) ** 0.5]
    )


def test_a_label_with_a_handful_of_pixels_is_capped() -> None:
    assert label_weights(torch.tensor([10_000_000, 1_000_000, 3]), 0.5, 10).max() == 10


def test_masks_without_any_label_weigh_one() -> None:
    assert label_weights(torch.zeros(3, dtype=torch.int64), 0.5, 10).tolist() == [1, 1, 1]


def test_an_unknown_loss_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'focal'.*simple, dice_ce, weighted_ce"):
        build_loss("focal", LABEL_PIXELS, IGNORE)


def test_label_smoothing_is_that_of_torch() -> None:
    logits, label_map = batch()
    expected = F.cross_entropy(logits, label_map, ignore_index=IGNORE, label_smoothing=0.2)
    loss = build_loss("simple", LABEL_PIXELS, IGNORE, label_smoothing=0.2)
    torch.testing.assert_close(loss(logits, label_map), expected)


def test_label_smoothing_and_weights_together_are_those_of_torch() -> None:
    logits, label_map = batch()
    weights = label_weights(LABEL_PIXELS, power=0.8, cap=2)
    expected = F.cross_entropy(
        logits, label_map, weight=weights, ignore_index=IGNORE, label_smoothing=0.2
    )
    loss = build_loss(
        "weighted_ce", LABEL_PIXELS, IGNORE, label_smoothing=0.2, weight_power=0.8, weight_cap=2
    )
    torch.testing.assert_close(loss(logits, label_map), expected)


def test_dice_ce_takes_weights_and_smoothing_into_its_cross_entropy_only() -> None:
    logits, label_map = batch()
    by_pixel = F.cross_entropy(
        logits,
        label_map,
        weight=label_weights(LABEL_PIXELS, power=0.3, cap=10),
        ignore_index=IGNORE,
        label_smoothing=0.1,
    )
    expected = by_pixel + 0.5 * slow_dice_loss(logits.detach(), label_map)
    loss = build_loss(
        "dice_ce", LABEL_PIXELS, IGNORE, dice_weight=0.5, weight_power=0.3, label_smoothing=0.1
    )
    torch.testing.assert_close(loss(logits, label_map), expected)


def test_the_weights_of_dice_ce_move_with_it() -> None:
    loss = build_loss("dice_ce", LABEL_PIXELS, IGNORE, weight_power=0.3)
    assert [name for name, _ in loss.named_buffers()] == ["weights"]


@pytest.mark.parametrize("name", LOSSES)
def test_options_that_are_none_are_the_loss_s_own(name: str) -> None:
    assert options_of(name, **dict.fromkeys(OPTIONS)) == LOSSES[name].options


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("simple", {"label_smoothing": 0.1}),
        ("weighted_ce", {"label_smoothing": 0.1, "weight_power": 1.0}),
        ("dice_ce", {"label_smoothing": 0.1, "weight_power": 0.3, "dice_weight": 2.0}),
    ],
)
def test_a_batch_of_ignored_pixels_only_gives_zero_with_any_option(
    name: str, options: dict[str, float]
) -> None:
    logits = torch.randn(1, 4, 3, 3, requires_grad=True)
    label_map = torch.full((1, 3, 3), IGNORE)
    loss = build_loss(name, LABEL_PIXELS, IGNORE, **options)(logits, label_map)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize(
    ("name", "option", "takers"),
    [
        ("simple", "dice_weight", "dice_ce"),
        ("simple", "weight_power", "dice_ce or weighted_ce"),
        ("simple", "weight_cap", "dice_ce or weighted_ce"),
        ("weighted_ce", "dice_weight", "dice_ce"),
    ],
)
def test_an_option_of_another_loss_is_an_error_that_names_the_other(
    name: str, option: str, takers: str
) -> None:
    with pytest.raises(ValueError, match=f"--{option} is for --loss {takers}, not {name}$"):
        build_loss(name, LABEL_PIXELS, IGNORE, **{option: 0.5})


def test_the_help_of_an_option_says_who_takes_it_and_what_it_is_if_not_given() -> None:
    told = {name: option_help(name) for name in OPTIONS}
    assert told["label_smoothing"] == "share of the truth for all labels (default: 0)"
    assert told["dice_weight"] == "dice_ce: weight of the Dice loss (default: 1)"
    assert told["weight_power"].endswith("(default: 0 for dice_ce, 0.5 for weighted_ce)")
    assert told["weight_cap"].startswith("dice_ce, weighted_ce: largest weight")
