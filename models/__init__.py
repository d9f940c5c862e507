"""From images to label maps, and the file a network is kept in.

attention_unet            what the networks share: blocks, attention, decoder
residual_attention_unet   the network, trained from random weights
resnet_attention_unet     the network on a ResNet, which can start from pretrained weights
weights                   weights from elsewhere: torchvision's, a file's, another run's
prediction                image -> network size, logits -> label map of the original size
tiles                     a large image, tile by tile, blended
execution                 the network at work: precision, folding, threads, batches
predictor                 a checkpoint in use: images in, label maps out
learner                   a network while it learns: steps, optimizer, averaged weights
checkpoint                the checkpoint file: save, load, rebuild the network
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from models.residual_attention_unet import ResidualAttentionUNet
from models.resnet_attention_unet import ResNetAttentionUNet

MODELS: dict[str, Callable[..., nn.Module]] = {
    "residual_attention_unet": ResidualAttentionUNet,
    "resnet_attention_unet": ResNetAttentionUNet,
}


def build_model(name: str, **kwargs: Any) -> nn.Module:
    """The network called ``name``, with new random weights.

    Args:
        name: a key of ``MODELS``.
        **kwargs: the arguments of that network, ``num_labels`` among them. They are plain types,
            so that a checkpoint can hold them.

    Raises:
        ValueError: no network has that name.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}, expected one of: {', '.join(MODELS)}")
    return MODELS[name](**kwargs)
