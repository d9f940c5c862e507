"""What --sampler and --augment choose from; loads no torch, so that a command lists it at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SAMPLERS = ("weighted", "shuffle")  # see ``batches.EpochBatches``


@dataclass(frozen=True)
class Augmentation:
    """A row of AUGMENTS.

    Attributes:
        help: what it does, in a few words.
        settings: what ``builder`` is called with.
        builder: "module:name" of what gives an ``augmentation.Augmenting``.
    """

    help: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    builder: str = "datasets.training.augmentation:Augment"


_COLORS = {"brightness": 0.2, "contrast": 0.15, "saturation": 0.2, "hue": 10}

AUGMENTS: dict[str, Augmentation] = {
    "none": Augmentation("nothing"),
    "light": Augmentation(
        "flip, rotation, brightness", {"flip": 0.5, "rotation": 10, "brightness": 0.2}
    ),
    # Milder than photographs bear: with hundreds of them, more left the network underfitted.
    "strong": Augmentation(
        "also scale and crop, colour",
        {"flip": 0.5, "rotation": 10, "zoom": (0.9, 1.4), **_COLORS},
    ),
    "wide": Augmentation(
        "flip, colour, and scales from half to twice, the standard for --crop",
        {"flip": 0.5, "zoom": (0.5, 2.0), **_COLORS},
    ),
}
