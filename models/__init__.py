"""From images to label maps, and the file a network is kept in.

attention_unet            blocks, attention, decoder; the network trained from random weights
resnet_attention_unet     the network on a ResNet, which can start from pretrained weights
weights                   weights from elsewhere: torchvision's, a file's, another run's
prediction                image -> network size, logits -> label map of the original size
tiles                     a large image, tile by tile, blended
execution                 the network at work: precision, folding, threads, batches
predictor                 a checkpoint in use: images in, label maps out
learner                   a network while it learns: steps, optimizer, averaged weights
checkpoint                the checkpoint file: save, load, rebuild the network
export                    a network as one file for other programs

The table names what builds a network and loads no torch, so that a command can list it at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Model:
    """A row of MODELS.

    Attributes:
        builder: "module:class"; it takes ``num_labels``, and images (N, 3, H, W) to logits
            (N, C, H, W).
        encoders: the names by which ``--encoder`` chooses it.
        settings: which of ``encoder``, ``features`` and ``dropout`` it takes.
        pretrained: whether there are weights for its encoder to start from.
        new: further arguments of a new network; the checkpoints of older ones lack them.
    """

    builder: str
    encoders: tuple[str, ...]
    settings: tuple[str, ...]
    pretrained: bool = False
    new: Mapping[str, Any] = field(default_factory=dict)


# By the name in checkpoints.
MODELS: dict[str, Model] = {
    "residual_attention_unet": Model(
        "models.attention_unet:ResidualAttentionUNet",
        encoders=("residual",),
        settings=("features", "dropout"),
    ),
    "resnet_attention_unet": Model(
        "models.resnet_attention_unet:ResNetAttentionUNet",
        encoders=("resnet18", "resnet34", "resnet50"),
        settings=("encoder", "dropout"),
        pretrained=True,
        new={"layers": 3},
    ),
}


def encoders() -> dict[str, str]:
    """Every encoder, and the key of ``MODELS`` that it stands for."""
    return {encoder: name for name, row in MODELS.items() for encoder in row.encoders}


def model_spec(encoder: str, num_labels: int, **settings: Any) -> dict[str, Any]:
    """A network as checkpoints describe it: {"name": key of MODELS, "kwargs": its arguments}.

    Args:
        encoder: of ``encoders()``.
        num_labels: labels to tell apart, background included.
        **settings: of plain types; what this network does not take is left out.
    """
    name = encoders()[encoder]
    given = {**settings, "encoder": encoder}
    taken = {key: given[key] for key in given if key in MODELS[name].settings}
    return {"name": name, "kwargs": {"num_labels": num_labels, **taken, **MODELS[name].new}}


def build_model(name: str, **kwargs: Any) -> nn.Module:
    """The network called ``name``, with new random weights; ``num_labels`` is among its arguments.

    Raises:
        ValueError: no network has that name.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}, expected one of: {', '.join(MODELS)}")
    model: nn.Module = resolve_name(MODELS[name].builder)(**kwargs)
    return model
