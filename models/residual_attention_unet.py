"""The network that is trained from random weights: residual blocks all the way down and up."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from models.attention_unet import AttentionUNet, ResidualBlock, SelfAttention

__all__ = ["ResidualAttentionUNet", "ResidualBlock", "SelfAttention"]


class ResidualEncoder(nn.ModuleList):
    """A residual block at each resolution but the last, which is only pooled to.

    Args:
        features: channels at each resolution, the finest first.
        dropout: see ``ResidualBlock``.
    """

    def __init__(self, features: Sequence[int], dropout: float) -> None:
        widths = (3, *features)
        super().__init__(
            ResidualBlock(widths[i], widths[i + 1], dropout) for i in range(len(features))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> (N, features[i], H / 2^i, W / 2^i) for each i; the last one pooled."""
        features = []
        for block in self:
            x = block(x)
            features.append(x)
            x = F.max_pool2d(x, 2)
        return [*features, x]


class ResidualAttentionUNet(AttentionUNet):
    """See ``AttentionUNet``.

    Args:
        num_labels: labels to tell apart, background included.
        features: channels at each resolution, the finest first. Each step halves height and
            width; the bottleneck below has twice the last number.
        dropout: see ``ResidualBlock``; the same in every block.

    Raises:
        ValueError: no labels, no features, or a number that cannot be.
    """

    def __init__(
        self,
        num_labels: int,
        features: Sequence[int] = (64, 128, 256, 512),
        dropout: float = 0.0,
    ) -> None:
        if num_labels < 1 or not features or min(features) < 1 or not 0 <= dropout <= 1:
            raise ValueError(
                f"got num_labels={num_labels}, features={tuple(features)}, dropout={dropout}; "
                "expected at least one label, at least one feature count, all of them 1 or more, "
                "and a dropout in 0..1"
            )
        super().__init__(
            encoder=ResidualEncoder(features, dropout),
            encoder_widths=(*features, features[-1]),
            widths=(*features, 2 * features[-1]),
            num_labels=num_labels,
            dropout=dropout,
        )
