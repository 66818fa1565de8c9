"""Batch norm folded into the convolution before it: a served network computes one layer instead of two."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

#: The fused network's logits may differ from the network's by this share of the largest logit: rounding, no more.
TOLERANCE = 1e-4


@torch.inference_mode(False)  # in which tensors have no version
@torch.no_grad()
def fuse_batchnorm(net: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """A copy of a network in evaluation mode in which convolutions take in the batch norm that they feed.

    Pairs are found by following one batch of random images through the network. Where the fused network's logits of
    that batch are not the network's own, the copy is not fused.

    Args:
        net: any network with parameters in float32, on the CPU.
        shape: (channels, height, width) of the images that the network is for.
    """
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    fused = copy.deepcopy(net).eval()
    pairs, logits = _pairs(fused, x)
    for conv_name, norm_name in pairs:
        conv: Any = fused.get_submodule(conv_name)
        norm: Any = fused.get_submodule(norm_name)
        fused.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
        fused.set_submodule(norm_name, nn.Identity().eval())
    difference = (fused(x) - logits).abs().max()
    return fused if difference <= TOLERANCE * logits.abs().max() else copy.deepcopy(net).eval()


def _pairs(net: nn.Module, x: torch.Tensor) -> tuple[list[tuple[str, str]], torch.Tensor]:
    """(convolution, batch norm) by name, where the norm directly follows and each is used once; and the logits of x."""
    names: dict[nn.Module, str] = {
        m: name for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)
    }
    calls: Counter[nn.Module] = Counter()
    latest: tuple[nn.Module, torch.Tensor, int] | None = None  # convolution, its output, the output's version
    fed: list[tuple[nn.Module, nn.Module]] = []

    def called(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal latest
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            latest = module, output, output._version  # which a change in place, such as a ReLU's, raises
        elif latest and latest[1] is inputs[0] and latest[2] == latest[1]._version and module.running_mean is not None:
            fed.append((latest[0], module))

    handles = [module.register_forward_hook(called) for module in names]
    try:
        logits: torch.Tensor = net(x)
    finally:
        for handle in handles:
            handle.remove()
    return [(names[conv], names[norm]) for conv, norm in fed if calls[conv] == calls[norm] == 1], logits
