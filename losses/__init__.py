"""What training makes small: one file a loss.

Every loss is called with logits (N, C, H, W), floating point, and a label map (N, H, W), int64
label indices, and gives a scalar, float32. Pixels of the ignore index count in no part of it. If
every pixel is ignored, the loss is 0 and so is its gradient.

simple                  cross-entropy
dice_cross_entropy      cross-entropy + Dice loss
weighted_cross_entropy  cross-entropy in which rare labels weigh more
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

from torch import Tensor, nn

from losses.dice_cross_entropy import DiceCrossEntropyLoss
from losses.simple import SimpleLoss
from losses.weighted_cross_entropy import WeightedCrossEntropyLoss, label_weights


def _simple(label_pixels: Tensor, ignore_index: int, *, label_smoothing: float = 0.0) -> nn.Module:
    return SimpleLoss(ignore_index, label_smoothing)


def _dice_ce(
    label_pixels: Tensor,
    ignore_index: int,
    *,
    label_smoothing: float = 0.0,
    dice_weight: float = 1.0,
    weight_power: float = 0.0,
    weight_cap: float = 10.0,
) -> nn.Module:
    weights = label_weights(label_pixels, weight_power, weight_cap) if weight_power else None
    return DiceCrossEntropyLoss(ignore_index, dice_weight, weights, label_smoothing)


def _weighted_ce(
    label_pixels: Tensor,
    ignore_index: int,
    *,
    label_smoothing: float = 0.0,
    weight_power: float = 0.5,
    weight_cap: float = 10.0,
) -> nn.Module:
    weights = label_weights(label_pixels, weight_power, weight_cap)
    return WeightedCrossEntropyLoss(weights, ignore_index, label_smoothing)


# name -> (label_pixels, ignore_index, the options that this loss has) -> loss
LOSSES: dict[str, Callable[..., nn.Module]] = {
    "simple": _simple,
    "dice_ce": _dice_ce,
    "weighted_ce": _weighted_ce,
}


def build_loss(
    name: str,
    label_pixels: Tensor,
    ignore_index: int,
    *,
    label_smoothing: float | None = None,
    dice_weight: float | None = None,
    weight_power: float | None = None,
    weight_cap: float | None = None,
) -> nn.Module:
    """The loss called ``name``. An option that is None has the value that this loss is made for.

    Args:
        name: a key of ``LOSSES``.
        label_pixels: (C,) pixels of each label in the training masks.
        ignore_index: the value in label maps that no loss counts.
        label_smoothing: 0 up to, but not, 1; see ``cross_entropy``. None: 0.
        dice_weight: of "dice_ce", 0 or more: weight of the Dice loss. None: 1.
        weight_power: of "weighted_ce" and "dice_ce", 0 or more; see ``label_weights``. None: 0.5,
            for "dice_ce" 0, which weighs all labels the same.
        weight_cap: of the same two, above 0: the largest weight of a label. None: 10.

    Raises:
        ValueError: no loss has that name, it has no such option, or the option cannot be so.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}, expected one of: {', '.join(LOSSES)}")
    options = {
        "label_smoothing": label_smoothing,
        "dice_weight": dice_weight,
        "weight_power": weight_power,
        "weight_cap": weight_cap,
    }
    given = {option: value for option, value in options.items() if value is not None}
    known = inspect.signature(LOSSES[name]).parameters
    for option, value in given.items():
        if option not in known:
            takers = [
                loss for loss in LOSSES if option in inspect.signature(LOSSES[loss]).parameters
            ]
            raise ValueError(
                f"the loss {name!r} has no {option}; leave it out, or take {' or '.join(takers)}"
            )
        _check_range(option, value)
    return LOSSES[name](label_pixels, ignore_index, **given)


def _check_range(option: str, value: float) -> None:
    if option == "label_smoothing" and not 0 <= value < 1:
        raise ValueError(f"{option} is {value}, expected 0 or more and less than 1")
    if option == "weight_cap" and not 0 < value < math.inf:
        raise ValueError(f"{option} is {value}, expected more than 0")
    if not 0 <= value < math.inf:
        raise ValueError(f"{option} is {value}, expected 0 or more")
