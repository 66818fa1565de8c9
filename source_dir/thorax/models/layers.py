"""Changes to a published network's first and last layer."""

from __future__ import annotations

from typing import Any

from torch import nn


def first_layer(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A first convolution for images of that many channels; `conv` itself where it has them already."""
    if channels == conv.in_channels:
        return conv
    options: Any = {name: getattr(conv, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    return nn.Conv2d(channels, conv.out_channels, bias=conv.bias is not None, **options)


def dropout_before(head: nn.Linear, dropout: float) -> nn.Module:
    """The head with dropout before it; the head itself, under its own state_dict keys, where dropout is 0."""
    return nn.Sequential(nn.Dropout(dropout), head) if dropout else head


_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


def parts_of(container: nn.Module) -> list[nn.Module]:
    """The parts of a container that have parameters, in their order; a norm counts to the part before it."""
    groups: list[list[nn.Module]] = []
    for part in container.children():
        if not any(True for _ in part.parameters()):
            continue
        if groups and isinstance(part, _NORMS):
            groups[-1].append(part)
        else:
            groups.append([part])
    return [nn.ModuleList(group) if len(group) > 1 else group[0] for group in groups]
