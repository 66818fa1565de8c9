"""A network with its batch norm folded into its convolutions."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fuse_batchnorm(net: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode in which a convolution takes in the batch norm that follows it.

    In every network of `models.build` a batch norm that is registered right after a convolution follows it.
    """
    net = copy.deepcopy(net)
    for parent in list(net.modules()):
        for (conv_name, conv), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
