"""A network made ready to serve: batch norm folded into the convolutions, channels last, bfloat16 where it is safe."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

#: bfloat16 serves only where no probability differs from float32's by more than this.
TOLERANCE = 0.01


def fuse_batchnorm(net: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode in which a convolution takes in the batch norm that follows it.

    In every network of `models.build` a batch norm that is registered right after a convolution follows it.
    """
    net = deep_copy(net)
    for parent in list(net.modules()):
        for (conv_name, conv), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def deep_copy(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net)


def to_bfloat16(net: nn.Module) -> nn.Module:
    """The network in bfloat16, but for its last layer: it still takes float32 images and gives float32 logits."""
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    if not linear:
        return net
    net = net.to(torch.bfloat16)
    linear[-1].float().register_forward_pre_hook(_to(torch.float32))
    net.register_forward_pre_hook(_to(torch.bfloat16))
    return net


def _to(dtype: torch.dtype) -> Any:
    return lambda module, inputs: (inputs[0].to(dtype),)


@torch.inference_mode()
def largest_difference(one: nn.Module, other: nn.Module, x: torch.Tensor, task: str) -> float:
    """The largest difference of a probability between two networks on the images x (N, C, H, W)."""
    p, q = (probabilities(net(x).float(), task) for net in (one, other))
    return float((p - q).abs().max())


def probabilities(logits: torch.Tensor, task: str) -> torch.Tensor:
    """(N, L) logits -> probabilities in 0..1: softmax for multiclass, else a sigmoid each."""
    return logits.softmax(dim=1) if task == "multiclass" else logits.sigmoid()
