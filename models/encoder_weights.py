"""Pretrained weights for the ResNet of a network, from torchvision or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

from torch import Tensor
from torchvision.models import get_model_weights

from models.checkpoint import read_pytorch_file
from models.resnet_attention_unet import ResNetAttentionUNet, ResNetEncoder

NUM_NAMED = 3  # weights that do not fit, in the message about them


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
    """Give the encoder the weights of a file; those of a classifier (fc) are left out.

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
    given = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
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
