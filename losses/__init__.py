"""What training makes small: one file a loss, a row in LOSSES.

Every loss is called with logits (N, C, H, W), floating point, and a label map (N, H, W), int64
label indices, and gives a scalar, float32. Pixels of the ignore index count in no part of it. If
every pixel is ignored, the loss is 0 and so is its gradient.

simple                  cross-entropy
dice_cross_entropy      cross-entropy + Dice loss
weighted_cross_entropy  cross-entropy in which rare labels weigh more

The tables name what builds a loss and load no torch, so that a command can list them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from runtime.command_line import above, at_least, share

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Loss:
    """A row of LOSSES.

    Attributes:
        builder: "module:function" of (label_pixels, ignore_index, **options) -> loss; the first
            are (C,), of each label in the training masks; the second no loss counts.
        help: what it is, in a few words.
        options: keys of OPTIONS that it takes, and what they are if not given.
    """

    builder: str
    help: str
    options: Mapping[str, float]


@dataclass(frozen=True)
class Option:
    """A row of OPTIONS: a number that some losses take, its range in ``type``, for argparse."""

    type: Callable[[str], Any]
    metavar: str
    help: str


OPTIONS: dict[str, Option] = {
    "label_smoothing": Option(share, "SHARE", "share of the truth for all labels"),
    "dice_weight": Option(at_least(0.0), "W", "weight of the Dice loss"),
    "weight_power": Option(at_least(0.0), "P", "labels weigh (median / pixels)^P"),
    "weight_cap": Option(above(0), "W", "largest weight of a label"),
}

LOSSES: dict[str, Loss] = {
    "simple": Loss("losses.simple:build", "cross-entropy", {"label_smoothing": 0.0}),
    "dice_ce": Loss(
        "losses.dice_cross_entropy:build",
        "with Dice loss added",
        {"label_smoothing": 0.0, "dice_weight": 1.0, "weight_power": 0.0, "weight_cap": 10.0},
    ),
    "weighted_ce": Loss(
        "losses.weighted_cross_entropy:build",
        "with more weight on rare labels",
        {"label_smoothing": 0.0, "weight_power": 0.5, "weight_cap": 10.0},
    ),
}


def option_help(name: str) -> str:
    """Which losses take an option, what it is, and its value where it is not given."""
    values = {loss: row.options[name] for loss, row in LOSSES.items() if name in row.options}
    takers = "" if values.keys() == LOSSES.keys() else f"{', '.join(values)}: "
    own = ", ".join(f"{value:g} for {loss}" for loss, value in values.items())
    default = own if len(set(values.values())) > 1 else f"{next(iter(values.values())):g}"
    return f"{takers}{OPTIONS[name].help} (default: {default})"


def options_of(loss: str, **given: float | None) -> dict[str, float]:
    """The options of a loss: those that are given, not None, else its own.

    Raises:
        ValueError: no loss has that name, or it has no such option.
    """
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}, expected one of: {', '.join(LOSSES)}")
    own = {name: value for name, value in given.items() if value is not None}
    for name in own.keys() - LOSSES[loss].options.keys():
        takers = " or ".join(other for other, row in LOSSES.items() if name in row.options)
        raise ValueError(f"--{name} is for --loss {takers}, not {loss}")
    return {**LOSSES[loss].options, **own}


def build_loss(
    loss: str, label_pixels: Tensor, ignore_index: int, **given: float | None
) -> nn.Module:
    """The loss called ``loss``; see ``Loss`` and ``options_of``."""
    options = options_of(loss, **given)
    built: nn.Module = resolve_name(LOSSES[loss].builder)(label_pixels, ignore_index, **options)
    return built
