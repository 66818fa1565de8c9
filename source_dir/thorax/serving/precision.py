"""In which precision a network is served: bfloat16 where it is safe, else float32."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from thorax.machine import cpu_has_bfloat16

PRECISIONS = ("auto", "float32", "bfloat16")
#: bfloat16 is chosen only where no probability differs from float32's by more than this.
TOLERANCE = 0.01


def choose_precision(net: nn.Module, precision: str, x: torch.Tensor, task: str) -> tuple[nn.Module, str]:
    """The network to serve, and its precision.

    Args:
        net: in float32, in evaluation mode.
        precision: one of PRECISIONS; auto: bfloat16 where the machine has it and no probability moves by more than
            TOLERANCE.
        x: (N, C, H, W) images to compare the two on, on the network's device.
        task: of the labels.
    """
    supported = torch.cuda.is_bf16_supported(including_emulation=False) if x.is_cuda else cpu_has_bfloat16()
    if precision == "float32" or (precision == "auto" and not supported):
        return net, "float32"
    low = to_bfloat16(copy.deepcopy(net))
    if precision == "auto" and not largest_difference(net, low, x, task) <= TOLERANCE:  # also where it is NaN
        return net, "float32"
    return low, "bfloat16"


def to_bfloat16(net: nn.Module) -> nn.Module:
    """The network in bfloat16, but for its last layer: it still takes float32 images and returns float32 logits."""
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
def largest_difference(first: nn.Module, second: nn.Module, x: torch.Tensor, task: str) -> float:
    """The largest difference of a probability between two networks on the images x (N, C, H, W)."""
    p, q = (probabilities(net(x).float(), task) for net in (first, second))
    return float((p - q).abs().max())


def probabilities(logits: torch.Tensor, task: str) -> torch.Tensor:
    """(N, L) logits -> probabilities in 0..1: softmax for multiclass, else a sigmoid each."""
    return logits.softmax(dim=1) if task == "multiclass" else logits.sigmoid()
