"""The checkpoint file: a network with all that is needed to use it or to go on training it.

A dict of plain types and tensors, written by ``torch.save``, read with ``weights_only=True``, so
that opening a stranger's file runs none of its code:

    format_version   int, ``FORMAT_VERSION`` of the writer
    model            {"name": key of MODELS, "kwargs": its arguments}
    model_state      state dict of the network
    label_set        {"name", "labels": [{"name", "color", ...}, ...]} in label index order
    image_size       height and width that the network was trained at, in pixels

Training adds what it needs to go on (optimizer, scheduler, random state, ...); whoever only
predicts does not look at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models import build_model
from runtime.files import replacing

FORMAT_VERSION = 1
REQUIRED_KEYS = ("model", "model_state", "label_set", "image_size")


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
        torch.save({"format_version": FORMAT_VERSION, **checkpoint}, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, every tensor on the CPU.

    Raises:
        OSError: there is no such file, or it cannot be opened.
        ValueError: the file is damaged, is no checkpoint of this project, or comes from a newer
            version of it.
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
