"""A U-Net around any encoder, with self-attention in its bottleneck; its own are residual blocks.

U-Net: Ronneberger, Fischer, Brox 2015. Residual blocks: He, Zhang, Ren, Sun 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Mean and standard deviation of the red, green and blue of ImageNet, for values in 0..1.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (N, in, H, W) -> (N, out, H, W).

    Each convolution is followed by batch norm; SiLU comes after the first and after the sum. The
    shortcut is the input itself, or a 1x1 convolution of it where the channels change. ``dropout``
    is the probability in 0..1 that a channel is zeroed between the two convolutions, while
    training. There, after Wide ResNet (Zagoruyko, Komodakis 2016); whole channels, because
    neighbouring pixels of one channel say nearly the same.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.dropout = nn.Dropout2d(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(self.dropout(y)))
        return F.silu(y + self.shortcut(x))


class SelfAttention(nn.Module):
    """Every position looks at every other: (N, C, H, W) -> (N, C, H, W).

    One head of C // 8 channels, scaled dot product over all H * W positions, added to the input
    through a learned gate. The gate starts at zero, so the block starts as the identity and the
    network takes from it what helps (Zhang et al. 2019, Self-Attention GAN). Queries, keys and
    values are equally wide, which the memory-saving kernels of PyTorch ask for.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = max(1, channels // 8)
        self.qkv = nn.Conv2d(channels, 3 * width, 1)
        self.project = nn.Conv2d(width, channels, 1)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        N, _, H, W = x.shape
        qkv = self.qkv(x).flatten(2).mT  # (N, H*W, 3*width)
        q, k, v = (t.unsqueeze(1) for t in qkv.chunk(3, dim=-1))  # (N, 1, H*W, width)
        y = F.scaled_dot_product_attention(q, k, v)
        y = self.project(y.squeeze(1).mT.reshape(N, -1, H, W))  # (N, C, H, W)
        return x.addcmul(self.gate, y)


class AttentionUNet(nn.Module):
    """Images in, a score for each label at each pixel out.

    Args:
        encoder: (N, 3, H, W) normalised images -> features at height and width divided by 1, 2,
            4, ..., the finest first; H and W are multiples of the last divisor.
        encoder_widths: channels of each of those features.
        widths: channels of the bottleneck, at the last resolution, and of what the decoder makes
            at each of the others; the finest first, the bottleneck last. With fewer of them than
            features, the decoder ends at a coarser resolution, and the logits are enlarged.
        num_labels: labels to tell apart, background included.
        dropout: see ``ResidualBlock``; the same in every block of bottleneck and decoder.
        learned: enlarge features by a learned convolution, else by copying each pixel.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        encoder_widths: Sequence[int],
        widths: Sequence[int],
        num_labels: int,
        dropout: float,
        learned: bool = True,
    ) -> None:
        super().__init__()
        # The network owns its input scale, so training and inference cannot disagree on it.
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)
        self.finest = len(encoder_widths) - len(widths)  # halvings at which the decoder ends
        *skips, deepest = encoder_widths[self.finest :]
        *features, bottom = widths
        self.stride = 2 ** (len(encoder_widths) - 1)  # of the bottleneck, in pixels

        self.encoder = encoder
        self.bottleneck = nn.Sequential(
            ResidualBlock(deepest, bottom, dropout), SelfAttention(bottom)
        )
        self.upsample = nn.ModuleList(
            nn.ConvTranspose2d(low, high, kernel_size=2, stride=2)
            if learned
            else nn.Upsample(scale_factor=2)
            for low, high in zip(widths[1:], features, strict=True)
        )
        enlarged = features if learned else widths[1:]
        self.decoder = nn.ModuleList(
            ResidualBlock(low + skip, width, dropout)
            for low, skip, width in zip(enlarged, skips, features, strict=True)
        )
        self.head = nn.Conv2d(features[0], num_labels, 1)
        self.apply(_initialize)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB, uint8 or floating point in 0..1 -> (N, num_labels, H, W) logits."""
        H, W = images.shape[-2:]
        x = images.to(self.mean.dtype) / 255 if images.dtype == torch.uint8 else images
        x = (x - self.mean) / self.std
        right, bottom = -W % self.stride, -H % self.stride
        if right or bottom:  # repeat the edge until the size halves evenly all the way down
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        *skips, x = self.encoder(x)[self.finest :]
        x = self.bottleneck(x)
        # From the coarsest resolution back to the finest.
        for upsample, block, skip in zip(
            reversed(self.upsample), reversed(self.decoder), reversed(skips), strict=True
        ):
            x = block(torch.cat((upsample(x), skip), dim=1))
        logits: Tensor = self.head(x)
        if self.finest:
            logits = F.interpolate(logits, scale_factor=2**self.finest, mode="bilinear")
        return logits[..., :H, :W]


def _initialize(module: nn.Module) -> None:
    """First weights, where those of PyTorch are not the best.

    He initialisation of the convolutions in residual blocks (He et al. 2015). An upsampling
    starts with the same weights for the four pixels that it makes of one, hence as a nearest
    neighbour enlargement: random ones begin as a checkerboard that training must first unlearn
    (after ICNR, Aitken et al. 2017).
    """
    if isinstance(module, ResidualBlock):
        for child in module.modules():
            if isinstance(child, nn.Conv2d):
                nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.ConvTranspose2d):
        with torch.no_grad():
            module.weight.copy_(module.weight[..., :1, :1].expand_as(module.weight))


class ResidualEncoder(nn.ModuleList):
    """A residual block at each resolution but the last, which is only pooled to."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> (N, features[i], H / 2^i, W / 2^i) for each i; the last one pooled."""
        features = []
        for block in self:
            x = block(x)
            features.append(x)
            x = F.max_pool2d(x, 2)
        return [*features, x]


class ResidualAttentionUNet(AttentionUNet):
    """The network that is trained from random weights: residual blocks all the way down and up.

    Args:
        num_labels: labels to tell apart, background included.
        features: channels at each resolution, the finest first. Each step halves height and
            width; the bottleneck below has twice the last number.
        dropout: see ``ResidualBlock``; the same in every block.
    """

    def __init__(
        self,
        num_labels: int,
        features: Sequence[int] = (64, 128, 256, 512),
        dropout: float = 0.0,
    ) -> None:
        steps = pairwise((3, *features))
        encoder = ResidualEncoder(ResidualBlock(low, high, dropout) for low, high in steps)
        deepest = features[-1]
        widths = (*features, 2 * deepest)
        super().__init__(encoder, (*features, deepest), widths, num_labels, dropout)
