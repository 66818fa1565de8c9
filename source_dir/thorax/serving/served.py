"""A network in bfloat16, where no probability moves by more than a tolerance."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

#: bfloat16 serves only where no probability differs from float32's by more than this.
TOLERANCE = 0.01


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
