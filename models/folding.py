"""Batch norm folded into the convolution before it: the same function in fewer operations."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy of a network, for evaluation only, whose convolutions do what batch norm did.

    In evaluation batch norm is a scale and a shift of each channel, which a convolution can do by
    itself (Jacob et al. 2018, section 3.2). Logits are the same but for rounding; save the
    original, not the copy.

    Args:
        model: a batch norm that directly follows a convolution in the order in which their module
            was given its parts is taken to be applied right after it; all networks here, and the
            ResNets of torchvision, are written so. It is left as it is.

    Returns:
        The copy, in evaluation mode.
    """
    folded = copy.deepcopy(model).eval()
    for module in list(folded.modules()):
        for (name, convolution), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, norm_name, nn.Identity())
    return folded
