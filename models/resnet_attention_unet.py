"""The network that can start from pretrained weights: the same decoder on a ResNet.

ResNet: He, Zhang, Ren, Sun 2016, as torchvision builds it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import get_model

from models import MODELS
from models.attention_unet import AttentionUNet

ENCODERS = MODELS["resnet_attention_unet"].encoders

# Layers of the ResNet in use -> channels that the decoder makes, the finest first, and those of the
# bottleneck. Narrow where pixels are many: there each channel costs the most time.
WIDTHS = {
    3: (32, 64, 128, 256),  # at height and width divided by 2, 4 and 8; the bottleneck at 16
    4: (16, 32, 64, 128, 256, 512),  # divided by 1, 2, 4, 8 and 16; the bottleneck at 32
}


class ResNetEncoder(nn.Module):
    """A ResNet without its classifier; its weights bear the names that torchvision gives them.

    Attributes:
        unused: what the names of torchvision's further weights begin with.
        widths: channels of the features, the finest first.
    """

    def __init__(self, name: str, layers: int) -> None:
        super().__init__()
        resnet = get_model(name, weights=None)
        self.name = name
        self.unused = ("fc.", *(f"layer{number}." for number in range(layers + 1, 5)))
        self.conv1, self.bn1, self.relu = resnet.conv1, resnet.bn1, resnet.relu
        self.maxpool = resnet.maxpool
        self.layers = [f"layer{number}" for number in range(1, layers + 1)]
        for layer in self.layers:
            self.add_module(layer, getattr(resnet, layer))
        deepest: int = resnet.fc.in_features
        self.widths = (3, 64, *(deepest >> step for step in (3, 2, 1, 0)))[: layers + 2]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> x itself and (N, widths[i], H / 2^i, W / 2^i) for each i from 1 on."""
        features = [x, self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[-1])
        for layer in self.layers:
            x = getattr(self, layer)(x)
            features.append(x)
        return features


class ResNetAttentionUNet(AttentionUNet):
    """See ``AttentionUNet``. Weights are random; ``models.weights`` brings others.

    Args:
        num_labels: labels to tell apart, background included.
        encoder: one of ``ENCODERS``.
        dropout: see ``ResidualBlock``; in bottleneck and decoder, the ResNet has none.
        layers: of the ResNet in use. 3, of new networks: the bottleneck looks at height and width
            divided by 16, features are enlarged by copying, and logits are made at half the size.
            4, of checkpoints before December 2026: divided by 32, learned enlargement, logits at
            every pixel. docs/results.md has what made the difference.

    Raises:
        ValueError: an unknown encoder.
    """

    encoder: ResNetEncoder

    def __init__(
        self, num_labels: int, encoder: str = "resnet18", dropout: float = 0.0, layers: int = 4
    ) -> None:
        if encoder not in ENCODERS:
            raise ValueError(f"unknown encoder {encoder!r}, expected one of: {', '.join(ENCODERS)}")
        resnet, widths = ResNetEncoder(encoder, layers), WIDTHS[layers]
        super().__init__(resnet, resnet.widths, widths, num_labels, dropout, learned=layers == 4)
