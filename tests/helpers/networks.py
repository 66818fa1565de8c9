"""Random images for networks, and batch norm as it is after training."""

from __future__ import annotations

import torch
from torch import nn


def random_images(channels: int = 1, count: int = 2, size: tuple[int, int] = (32, 40)) -> torch.Tensor:
    """(count, channels, height, width) float32."""
    return torch.randn(count, channels, *size)


def with_statistics(net: nn.Module) -> nn.Module:
    """The network with weights and statistics of batch norm that are not the initial ones."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return net


def batch_norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
