"""Changes to a published network's first and last layer."""

from __future__ import annotations

from typing import Any

from torch import nn


def first_layer(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A first convolution for images of that many channels; `conv` itself where it has them already."""
    if channels == conv.in_channels:
        return conv
    options: Any = {name: getattr(conv, name) for name in ("kernel_size", "stride", "padding")}
    return nn.Conv2d(channels, conv.out_channels, bias=conv.bias is not None, **options)


def dropout_before(head: nn.Linear, dropout: float) -> nn.Module:
    """The head with dropout before it; the head itself, under its own state_dict keys, where dropout is 0."""
    return nn.Sequential(nn.Dropout(dropout), head) if dropout else head
