"""Weights from elsewhere: torchvision's, a file's, another run's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

from torch import Tensor, nn
from torchvision.models import get_model_weights

from models.checkpoint import load_checkpoint, read_pytorch_file
from models.resnet_attention_unet import ResNetAttentionUNet, ResNetEncoder

logger = logging.getLogger(__name__)

MOST_NAMED = 20  # weights of another network that do not fit
NUM_NAMED = 3  # weights that do not fit, in the message about them


def load_first_weights(
    model: nn.Module, *, run: Path | None, encoder_file: Path | None, pretrained: bool
) -> None:
    """Replace the random weights of a new network by those from elsewhere, as far as there are any.

    Args:
        model: is changed in place; a ``ResNetAttentionUNet``, if its encoder gets weights.
        run: a checkpoint whose weights to take as far as they fit; says which do not.
        encoder_file: see ``load_encoder_weights``.
        pretrained: take ``load_pretrained_encoder``'s.

    Raises:
        OSError: a file cannot be opened or downloaded.
        ValueError: a file is something else, or nothing of it fits.
    """
    if run:
        left_out = load_fitting_weights(model, load_checkpoint(run)["model_state"])
        for text in left_out[:MOST_NAMED]:
            logger.warning("left out of %s: %s", run, text)
        if len(left_out) > MOST_NAMED:
            logger.warning("... and %d more weights", len(left_out) - MOST_NAMED)
    if pretrained or encoder_file:
        assert isinstance(model, ResNetAttentionUNet), "the command's flags see to this"
        if encoder_file:
            load_encoder_weights(model, encoder_file)
        else:
            load_pretrained_encoder(model)


def load_pretrained_encoder(model: ResNetAttentionUNet) -> None:
    """Give the encoder torchvision's best weights, learned on ImageNet.

    They are downloaded once, into the cache of ``torch.hub`` (``TORCH_HOME``).

    Raises:
        OSError: the download failed.
    """
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


def load_encoder_weights(model: ResNetAttentionUNet, path: Path) -> None:
    """Give the encoder the weights of a file; those of layers that it does not have are left out.

    Args:
        model: its encoder is changed in place.
        path: a state dict of torchvision's ResNet of the same name, as torchvision publishes them.

    Raises:
        OSError: there is no such file, or it cannot be opened.
        ValueError: the file is damaged, is something else, or does not fit; the encoder is then
            what it was.
    """
    state = read_pytorch_file(path, "weights")
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"{path} is a PyTorch file but no state dict (a dict of tensors by name); "
            f"give one of torchvision's {model.encoder.name}"
        )
    _load(model.encoder, state, str(path))


def _load(encoder: ResNetEncoder, state: Mapping[str, Tensor], source: str) -> None:
    given = {name: value for name, value in state.items() if not name.startswith(encoder.unused)}
    wrong = _differences(given, encoder.state_dict())
    if wrong:
        more = f" and {len(wrong) - NUM_NAMED} more" if len(wrong) > NUM_NAMED else ""
        raise ValueError(
            f"{source} does not fit {encoder.name}: {'; '.join(wrong[:NUM_NAMED])}{more}; give a "
            f"state dict of torchvision's {encoder.name}, or name the encoder that it belongs to"
        )
    encoder.load_state_dict(given)


def _differences(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """What keeps weights from fitting, a text each."""
    # Batch norm counts its batches only since PyTorch 0.4.1; older files fit without the counts.
    needed = [name for name in expected if not name.endswith("num_batches_tracked")]
    return [
        *(f"{name} is missing" for name in needed if name not in given),
        *(f"{name} is unknown" for name in given if name not in expected),
        *(
            f"{name} has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
            for name, tensor in given.items()
            if name in expected and tensor.shape != expected[name].shape
        ),
    ]


def load_fitting_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Take over the weights whose name and shape fit; the others of ``model`` stay as they are.

    Returns:
        A text for each weight of ``model`` or ``weights`` that was left out, with the reason.

    Raises:
        ValueError: none fits.
    """
    own = model.state_dict()
    fitting = {n: w for n, w in weights.items() if n in own and own[n].shape == w.shape}
    # Biases and counters of equal number say nothing about what was learned.
    if not any(weight.ndim > 1 for weight in fitting.values()):
        raise ValueError("none of its weights fits this network; give a checkpoint of the same one")
    model.load_state_dict(fitting, strict=False)
    left_out = [f"{name} is new" for name in own if name not in weights]
    for name, weight in weights.items():
        if name not in own:
            left_out.append(f"{name} is not in this network")
        elif name not in fitting:
            shapes = f"{tuple(weight.shape)}, here {tuple(own[name].shape)}"
            left_out.append(f"{name} has shape {shapes}")
    return left_out
