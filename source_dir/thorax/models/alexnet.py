"""AlexNet (Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014), torchvision's."""

from __future__ import annotations

from typing import Any

import torchvision
from torch import nn

from thorax.models.layers import first_layer


def build(name: str, channels: int, outputs: int, dropout: float) -> nn.Module:
    """torchvision's AlexNet, with dropout in its dense layers."""
    net: Any = torchvision.models.get_model(name, num_classes=outputs, dropout=dropout)
    net.features[0] = first_layer(net.features[0], channels)
    return net  # type: ignore[no-any-return]


def stages(net: Any) -> list[nn.Module]:
    convolutions = [nn.ModuleList([layer]) for layer in net.features if isinstance(layer, nn.Conv2d)]
    return [*convolutions, net.classifier[1], net.classifier[4], net.classifier[6]]


def feature_map(net: Any) -> nn.Module:
    return net.features  # type: ignore[no-any-return]


def checkpointed(net: Any) -> list[nn.Module]:
    """None: its convolutions are not in blocks."""
    return []
