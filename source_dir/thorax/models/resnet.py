"""ResNet-18 to ResNet-152 (He et al., "Deep residual learning for image recognition", 2016), torchvision's."""

from __future__ import annotations

from typing import Any

import torchvision
from torch import nn

from thorax.models.layers import dropout_before, first_layer


def build(name: str, channels: int, outputs: int, dropout: float) -> nn.Module:
    """torchvision's network of that name, with dropout before its last layer."""
    net: Any = torchvision.models.get_model(name, num_classes=outputs)
    net.conv1 = first_layer(net.conv1, channels)
    net.fc = dropout_before(net.fc, dropout)
    return net  # type: ignore[no-any-return]


def stages(net: Any) -> list[nn.Module]:
    return [nn.ModuleList([net.conv1, net.bn1]), net.layer1, net.layer2, net.layer3, net.layer4, net.fc]


def feature_map(net: Any) -> nn.Module:
    return net.layer4  # type: ignore[no-any-return]


def checkpointed(net: Any) -> list[nn.Module]:
    """The residual blocks."""
    return [block for layer in (net.layer1, net.layer2, net.layer3, net.layer4) for block in layer]
