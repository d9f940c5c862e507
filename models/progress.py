"""How far a training run is, and whether it can go on from a checkpoint."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.checkpoint import Checkpoint
from runtime.devices import World, sum_over_ranks

logger = logging.getLogger(__name__)

# What a run goes on with: (key, its words for people, whether other values end it).
CONTINUED = (
    ("label_set", "labels", True),
    ("mask_values", "pixel values of masks", True),
    ("model", "network", True),
    ("images_in_step", "images in a step (processes x --batch_size x --accumulate)", True),
    ("images", "images or masks", False),
    ("batch_size", "images in a batch", False),
    ("world_size", "number of processes", False),
    ("versions", "PyTorch", False),
)


class NotFinite(ArithmeticError):
    """The loss of a step, or a weight after it, is infinite or not a number."""

    def __init__(self, epoch: int, step: int, what: str) -> None:
        super().__init__(f"epoch {epoch}, step {step}: {what}")
        self.epoch, self.step = epoch, step


class Progress:
    """Where a run is. With the seed, that says all about order, augmentation and dropout.

    Attributes:
        epoch: whole epochs done.
        step: steps done in the epoch after those.
        loss_sum: of the losses of these steps but the last, float64.
    """

    def __init__(self, epoch: int = 0, step: int = 0, loss_sum: float = 0.0) -> None:
        self.epoch, self.step, self.loss_sum = epoch, step, loss_sum
        self._last: Tensor | None = None

    def note(self, loss: Tensor) -> None:
        """Count a step. Its loss is looked at with the next one, as now it may not be computed."""
        self.settle()
        self._last = loss
        self.step += 1

    def settle(self) -> None:
        """Look at the last loss.

        Raises:
            NotFinite: it is not finite; do not save these weights.
        """
        if self._last is None:
            return
        loss, self._last = float(self._last), None
        if not math.isfinite(loss):
            raise NotFinite(self.epoch + 1, self.step, f"the loss is {loss}")
        self.loss_sum += loss

    def share_loss(self, world: World) -> None:
        """Let every process have the mean of their sums of losses; all must call it."""
        self.settle()
        total = sum_over_ranks(torch.tensor(self.loss_sum, dtype=torch.float64), world)
        self.loss_sum = float(total) / world.size

    def next_epoch(self) -> None:
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0


@dataclass(frozen=True)
class Best:
    """The epoch that is the best by --select, with the counts behind its scores."""

    epoch: int = 0
    score: float = -math.inf
    counts: Mapping[str, Tensor] = field(default_factory=dict)  # of "train" and "val"


def check_continuable(path: Path, checkpoint: Checkpoint, now: Mapping[str, Any]) -> None:
    """Compare what a checkpoint was trained with and what training would go on with.

    What makes the result another one than that of a run that never stopped, but no nonsense, is
    said as a warning.

    Args:
        path: the file, for messages.
        checkpoint: what it holds.
        now: the keys of ``CONTINUED``, as training would write them.

    Raises:
        ValueError: training cannot go on.
    """
    missing = [key for key in ("optimizer", "step", "loss_sum", "images") if key not in checkpoint]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: an older version wrote it, or it is only for "
            "inference; start a new run from its weights: --init_from"
        )
    for key, what, refuse in CONTINUED:
        before = checkpoint.get(key, now[key])  # older files lack the size of a batch
        if before == now[key]:
            continue
        if refuse:
            raise ValueError(
                f"{path} was trained with other {what}: {_short(before)}, now {_short(now[key])}; "
                "go on with those, or start a new run from its weights: --init_from"
            )
        logger.warning(
            "%s: %s, before %s: the run goes on, but not exactly as if it had never stopped",
            *(what, now[key], before),
        )


def _short(value: Any) -> str:
    if isinstance(value, dict) and "labels" in value:
        value = ", ".join(label["name"] for label in value["labels"])
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
