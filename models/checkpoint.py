"""The checkpoint file: a network with all that is needed to use it or to go on training it.

A dict of plain types and tensors, written by ``torch.save``, read with ``weights_only=True``, so
that opening a stranger's file runs none of its code. ``Checkpoint`` names every key.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO, TypedDict, cast

import torch
from torch import Tensor, nn

from models import build_model
from runtime.files import replacing

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2  # 2: a run can go on within an epoch


class ModelSpec(TypedDict):
    """How to build a network: ``MODELS[name](**kwargs)``."""

    name: str
    kwargs: dict[str, Any]  # num_labels among them


class _Usable(TypedDict):
    """What a file must hold to be used, of whatever ``format_version``."""

    format_version: int  # FORMAT_VERSION of the writer
    model: ModelSpec
    model_state: dict[str, Tensor]  # state dict of the network to predict with
    label_set: dict[str, Any]  # {"name", "labels": [{"name", "color", ...}, ...]} by label index
    image_size: int | list[int]  # pixels that the network was trained at; or [height, width]


class Checkpoint(_Usable, total=False):
    """Every key of the file. Those here are what training adds, to go on as if it never stopped."""

    shorter_side: int  # of a whole image, pixels; only if the network was trained on crops
    # Pixel value of each label in the masks; its index, if missing; None: label_set has "values".
    mask_values: list[int] | None
    optimizer: dict[str, Any]  # state dicts of AdamW and of torch.amp.GradScaler
    scaler: dict[str, Any]
    training_state: dict[str, Tensor]  # with --ema: weights being trained; model_state: averages
    averaged_steps: Tensor  # with --ema: int64 scalar, steps in the averages
    epoch: int  # whole epochs done
    step: int  # steps done in the epoch after those
    loss_sum: float  # of the losses of these steps
    best_epoch: int  # by --select, from 1; 0 before the first
    best_score: float  # its metric, losses negated; -inf before the first and where it is no number
    best_counts: dict[str, Tensor]  # its "train" and "val": (C, C) int64 [true, predicted]
    args: dict[str, Any]  # the flags, as in args.json
    images: str  # digest of the names of images and the labels of training masks
    images_in_step: int  # of all processes
    batch_size: int  # images of a process at a time
    world_size: int  # number of processes
    versions: dict[str, str]  # {"torch": of the writer}


REQUIRED_KEYS = tuple(key for key in _Usable.__annotations__ if key != "format_version")

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


def save_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all, and on the disk when this returns.

    Args:
        path: the file to write.
        checkpoint: the keys of ``Checkpoint`` but ``format_version``.

    Raises:
        OSError: the file cannot be written; a checkpoint that was there is still there.
    """
    assert all(key in checkpoint for key in REQUIRED_KEYS), sorted(checkpoint)
    with replacing(path, flush=True) as temporary, temporary.open("wb") as file:
        try:  # into an open file: else the bytes would hold the temporary name
            torch.save({"format_version": FORMAT_VERSION, **checkpoint}, file)
        except RuntimeError as error:  # PyTorch's words for any write that failed
            free = shutil.disk_usage(path.parent).free / 2**20
            raise OSError(
                f"{path} cannot be written, and is what it was before: the disk has {free:,.0f} MB "
                f"free. Make room, then go on with --resume ({str(error).splitlines()[0]})"
            ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, every tensor on the CPU.

    Raises:
        OSError: there is no such file, or it cannot be opened.
        ValueError: the file is damaged, is no checkpoint of this project, contradicts itself, or
            comes from a newer version of the project.
    """
    return read_checkpoint(path)[0]


def read_checkpoint(path: Path) -> tuple[Checkpoint, str]:
    """What ``load_checkpoint`` reads, and the SHA-256 of the bytes that it was read from."""
    with path.open("rb") as file:  # once: a training that goes on may replace it meanwhile
        digest = hashlib.sha256(file.read()).hexdigest()
        file.seek(0)
        return _checkpoint_of(file, path), digest


def read_pytorch_file(file: BinaryIO, path: Path, what: str) -> object:
    """What ``torch.save`` wrote, every tensor on the CPU; none of a stranger's code is run.

    Raises:
        ValueError: the file at ``path``, which should hold ``what``, is damaged, or holds more
            than plain types and tensors.
    """
    try:
        content: object = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes fail in any part of the reader, even as OSError
        reason = str(error).strip().partition("\n")[0][:200]
        if isinstance(error, UnpicklingError):
            reason = "pickled as no weights are"  # PyTorch would say how to run it all the same
        raise ValueError(
            f"{path} cannot be read as {what}: it is damaged, cut short, or another kind "
            f"of file ({type(error).__name__}: {reason})"
        ) from error
    return content


def model_from_checkpoint(checkpoint: Checkpoint) -> nn.Module:
    """The network of a checkpoint, with its weights, on the CPU, in evaluation mode.

    Raises:
        ValueError: the network is unknown, or the weights do not fit it.
    """
    spec = checkpoint["model"]
    try:
        model = build_model(spec["name"], **spec["kwargs"])
        model.load_state_dict(checkpoint["model_state"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"the weights of the checkpoint do not fit {spec}: {error}") from error
    return model.eval()


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


def _checkpoint_of(file: BinaryIO, path: Path) -> Checkpoint:
    checkpoint = read_pytorch_file(file, path, "a checkpoint")
    try:
        problem = _problem(checkpoint)
    except (AttributeError, KeyError, TypeError):
        problem = "is a PyTorch file but no checkpoint of this project"
    if problem:
        raise ValueError(f"{path} {problem}; give a file that train.py wrote")
    return cast(Checkpoint, checkpoint)


def _problem(checkpoint: Any) -> str | None:
    if (version := checkpoint["format_version"]) > FORMAT_VERSION:
        return f"has checkpoint format {version}; update this project, which reads {FORMAT_VERSION}"
    missing = [key for key in REQUIRED_KEYS if key not in checkpoint]
    if missing:
        return f"lacks {', '.join(missing)}"
    size, side = checkpoint["image_size"], checkpoint.get("shorter_side", 1)
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    for name, value, numbers in (("image_size", size, sides), ("shorter_side", side, [side])):
        if not all(isinstance(number, int) and number >= 1 for number in numbers):
            return f"has {name} {value!r}, expected a number of pixels, or two"
    made = checkpoint["model"]["kwargs"]["num_labels"]
    if made == (named := len(checkpoint["label_set"]["labels"])):
        return None
    return f"contradicts itself: its network has {made} labels, its label set names {named}"
