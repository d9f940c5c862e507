"""The checkpoint file: a network with all that is needed to use it or to go on training it.

A dict of plain types and tensors, written by ``torch.save``, read with ``weights_only=True``, so
that opening a stranger's file runs none of its code:

    format_version   int, ``FORMAT_VERSION`` of the writer
    model            {"name": key of MODELS, "kwargs": its arguments}
    model_state      state dict of the network
    label_set        {"name", "labels": [{"name", "color", ...}, ...]} in label index order
    image_size       pixels of what the network was trained on: one number, or [height, width]

Training adds what it needs to go on (optimizer, scheduler, random state, ...); whoever only
predicts does not look at it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models import build_model
from runtime.files import replacing, sha256_of

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2  # 2: a run can go on within an epoch
REQUIRED_KEYS = ("model", "model_state", "label_set", "image_size")

SAME_FILE = ("st_ino", "st_size", "st_mtime_ns")


def save_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all, and on the disk when this returns.

    Args:
        path: the file to write; its folder must exist.
        checkpoint: the keys above but ``format_version``, and any others.

    Raises:
        OSError: the file cannot be written; a checkpoint that was there is still there.
    """
    assert all(key in checkpoint for key in REQUIRED_KEYS), sorted(checkpoint)
    with replacing(path, flush=True) as temporary:
        try:
            torch.save({"format_version": FORMAT_VERSION, **checkpoint}, temporary)
        except RuntimeError as error:  # PyTorch's words for any write that failed
            free = shutil.disk_usage(path.parent).free / 2**20
            raise OSError(
                f"{path} cannot be written, and is what it was before: the disk has {free:,.0f} MB "
                f"free. Make room, then go on with --resume ({str(error).splitlines()[0]})"
            ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, every tensor on the CPU.

    Raises:
        OSError: there is no such file, or it cannot be opened.
        ValueError: the file is damaged, is no checkpoint of this project, contradicts itself, or
            comes from a newer version of the project.
    """
    checkpoint = read_pytorch_file(path, "a checkpoint")
    _check(path, checkpoint)
    assert isinstance(checkpoint, dict)
    return dict(checkpoint)


def read_pytorch_file(path: Path, what: str) -> object:
    """What ``torch.save`` wrote, every tensor on the CPU; none of a stranger's code is run.

    Args:
        path: the file.
        what: it should hold, for the message.

    Raises:
        OSError: there is no such file, or it cannot be opened.
        ValueError: it is damaged, or holds more than plain types and tensors.
    """
    with path.open("rb") as file:
        try:
            content: object = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # damaged bytes fail in any part of the reader, even as OSError
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"{path} cannot be read as {what}: it is damaged, cut short, or another kind "
                f"of file ({type(error).__name__}: {reason[:200]})"
            ) from error
    return content


def model_from_checkpoint(checkpoint: Mapping[str, Any]) -> nn.Module:
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


def _check(path: Path, checkpoint: object) -> None:
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("format_version"), int):
        raise ValueError(
            f"{path} is a PyTorch file but no checkpoint of this project (no format_version); "
            "give a file that train.py wrote"
        )
    version = checkpoint["format_version"]
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has checkpoint format {version}, this version reads up to {FORMAT_VERSION}; "
            "update this project to read it"
        )
    missing = [key for key in REQUIRED_KEYS if key not in checkpoint]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; give a file that train.py wrote")
    size = checkpoint["image_size"]
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    if not all(isinstance(side, int) and side >= 1 for side in sides):
        raise ValueError(f"{path} has image_size {size!r}, expected a number of pixels, or two")
    _check_labels(path, checkpoint["model"], checkpoint["label_set"])


def _check_labels(path: Path, model: Any, label_set: Any) -> None:
    """Compare how many labels network and label set have, as far as a file says it."""
    try:
        in_network, named = model["kwargs"]["num_labels"], len(label_set["labels"])
    except (KeyError, TypeError):
        return
    if in_network != named:
        raise ValueError(
            f"{path} contradicts itself: its network has {in_network} labels, its label set names "
            f"{named}; give a file that train.py wrote"
        )


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


def check_continuable(path: Path, checkpoint: Mapping[str, Any], now: Mapping[str, Any]) -> None:
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


def read_checkpoint(path: Path) -> tuple[dict[str, Any], str]:
    """A checkpoint, and the digest of the bytes that it was read from."""
    while True:
        before = path.stat()
        checkpoint, digest = load_checkpoint(path), sha256_of(path)
        after = path.stat()
        if all(getattr(before, key) == getattr(after, key) for key in SAME_FILE):
            return checkpoint, digest
        # A training that goes on has replaced its best.pt meanwhile.
