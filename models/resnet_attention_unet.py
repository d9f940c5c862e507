"""The network that can start from pretrained weights: the same decoder on a ResNet.

ResNet: He, Zhang, Ren, Sun 2016, as torchvision builds it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import get_model

from models import MODELS
from models.attention_unet import AttentionUNet

ENCODERS = MODELS["resnet_attention_unet"].encoders

# Channels that the decoder makes at height and width divided by 1, 2, 4, 8 and 16; then those of
# the bottleneck, at 32. Narrow where pixels are many: there each channel costs the most time.
WIDTHS = (16, 32, 64, 128, 256, 512)


class ResNetEncoder(nn.Module):
    """A ResNet without its classifier; its weights bear the names that torchvision gives them.

    Args:
        name: one of ``ENCODERS``.

    Attributes:
        name: the same.
        widths: channels of the features, the finest first.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        resnet = get_model(name, weights=None)
        self.name = name
        self.conv1, self.bn1, self.relu = resnet.conv1, resnet.bn1, resnet.relu
        self.maxpool = resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4
        deepest: int = resnet.fc.in_features
        self.widths = (3, 64, deepest // 8, deepest // 4, deepest // 2, deepest)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> x itself and (N, widths[i], H / 2^i, W / 2^i) for each i from 1 to 5."""
        features = [x, self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[-1])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features


class ResNetAttentionUNet(AttentionUNet):
    """See ``AttentionUNet``. Weights are random; ``models.encoder_weights`` brings others.

    Args:
        num_labels: labels to tell apart, background included.
        encoder: one of ``ENCODERS``.
        dropout: see ``ResidualBlock``; in bottleneck and decoder, the ResNet has none.

    Raises:
        ValueError: an unknown encoder, no labels, or a dropout that cannot be.
    """

    encoder: ResNetEncoder

    def __init__(self, num_labels: int, encoder: str = "resnet18", dropout: float = 0.0) -> None:
        if encoder not in ENCODERS:
            raise ValueError(f"unknown encoder {encoder!r}, expected one of: {', '.join(ENCODERS)}")
        if num_labels < 1 or not 0 <= dropout <= 1:
            raise ValueError(
                f"got num_labels={num_labels}, dropout={dropout}; expected at least one label and "
                "a dropout in 0..1"
            )
        resnet = ResNetEncoder(encoder)
        super().__init__(resnet, resnet.widths, WIDTHS, num_labels, dropout)
