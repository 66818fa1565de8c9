"""Stages of a network that are not trained."""

from __future__ import annotations

from torch import nn

from thorax.models.registry import stages


def freeze(net: nn.Module, trained: int) -> None:
    """Leaves the last `trained` stages (1 = the head alone) to be trained; the others keep weights and statistics."""
    parts = stages(net)
    for k, stage in enumerate(parts):
        train = k >= len(parts) - trained
        for p in stage.parameters():
            p.requires_grad_(train)
        for module in stage.modules():
            module.frozen = not train  # type: ignore[assignment]


def freeze_batchnorm(net: nn.Module) -> None:
    """Leaves every batch norm with the statistics that it has; its weight and bias are trained all the same."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.frozen = True  # type: ignore[assignment]


def train_mode(net: nn.Module) -> None:
    """net.train(), but with frozen batch norm, and that of frozen stages, left in evaluation mode."""
    net.train()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and getattr(module, "frozen", False):
            module.eval()
