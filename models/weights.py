"""Weights from elsewhere: torchvision's, a file's, another run's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

from torch import Tensor, nn
from torchvision.models import get_model_weights

from models import MODELS
from models.checkpoint import load_checkpoint, read_pytorch_file
from models.resnet_attention_unet import ResNetAttentionUNet, ResNetEncoder

logger = logging.getLogger(__name__)

NUM_NAMED = 3  # weights that are left out
MOST_SHOWN = 300  # letters of what PyTorch says of weights that do not fit


def load_fitting_weights(model: nn.Module, run: Path) -> None:
    """Take over a checkpoint's weights whose name and shape fit; the others are named.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is something else, or nothing of it fits.
    """
    checkpoint = load_checkpoint(run)
    spec, weights, own = checkpoint["model"], checkpoint["model_state"], model.state_dict()
    flags = {"encoder": MODELS[spec["name"]].encoders[0], **spec["kwargs"]}
    made_with = f"--encoder {flags['encoder']}"
    if "features" in flags:
        made_with += f" --features {' '.join(map(str, flags['features']))}"
    fitting = {n: w for n, w in weights.items() if n in own and own[n].shape == w.shape}
    # Biases and counters of equal number say nothing about what was learned.
    if not any(weight.ndim > 1 for weight in fitting.values()):
        raise ValueError(
            f"{run}: none of its weights fits this network; it was trained with {made_with}"
        )
    model.load_state_dict(fitting, strict=False)
    other = [name for name in {**own, **weights} if name not in fitting]
    for name in other[:NUM_NAMED]:
        logger.warning("left out of %s, trained with %s, or new: %s", run, made_with, name)
    if len(other) > NUM_NAMED:
        logger.warning("... and %d more weights", len(other) - NUM_NAMED)


def load_pretrained_encoder(model: nn.Module) -> None:
    """Give the encoder torchvision's best weights, learned on ImageNet.

    They are downloaded once, into the cache of ``torch.hub`` (``TORCH_HOME``).

    Raises:
        OSError: the download failed.
    """
    assert isinstance(model, ResNetAttentionUNet), "the command's flags see to this"
    name = model.encoder.name
    weights = get_model_weights(name).DEFAULT
    try:
        state = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: a wrong checksum
        raise OSError(
            f"the pretrained weights of {name} cannot be had: {error}. Where there is a network, "
            f"download {weights.url}; then give that file: --encoder_weights FILE"
        ) from error
    _load(model.encoder, state, weights.url)


def load_encoder_weights(model: nn.Module, path: Path) -> None:
    """Give the encoder the weights of a file; those of layers that it does not have are left out.

    They are a state dict of torchvision's ResNet of the same name, as torchvision publishes them.

    Raises:
        OSError: there is no such file, or it cannot be opened.
        ValueError: the file is damaged, is something else, or does not fit.
    """
    assert isinstance(model, ResNetAttentionUNet), "the command's flags see to this"
    with path.open("rb") as file:
        state = read_pytorch_file(file, path, "weights")
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"{path} is a PyTorch file but no state dict (a dict of tensors by name); "
            f"give one of torchvision's {model.encoder.name}"
        )
    _load(model.encoder, state, str(path))


def _load(encoder: ResNetEncoder, state: Mapping[str, Tensor], source: str) -> None:
    given = {name: value for name, value in state.items() if not name.startswith(encoder.unused)}
    try:
        encoder.load_state_dict(given)
    except RuntimeError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f"{source} does not fit {encoder.name}: {reason[:MOST_SHOWN]}; give a state dict of "
            f"torchvision's {encoder.name}, or name the encoder that it belongs to"
        ) from error
