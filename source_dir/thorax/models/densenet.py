"""DenseNet-121 (Huang et al., "Densely connected convolutional networks", 2017), torchvision's."""

from __future__ import annotations

import re
from typing import Any

import torch
import torchvision
from torch import nn

from thorax.models.layers import dropout_before, first_layer


class DenseNet121(torchvision.models.DenseNet):
    """torchvision's layers under torchvision's names, and a module for the ReLU that they end with: the head's map."""

    def __init__(self, outputs: int) -> None:
        super().__init__(32, (6, 12, 24, 16), 64, num_classes=outputs)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.relu(self.features(x)).mean(dim=(2, 3)))
        return logits


def build(name: str, channels: int, outputs: int, dropout: float) -> nn.Module:
    """DenseNet-121 with dropout before its last layer."""
    net: Any = DenseNet121(outputs)
    net.features.conv0 = first_layer(net.features.conv0, channels)
    net.classifier = dropout_before(net.classifier, dropout)
    return net  # type: ignore[no-any-return]


def stages(net: Any) -> list[nn.Module]:
    f = net.features
    return [
        nn.ModuleList([f.conv0, f.norm0]),
        nn.ModuleList([f.denseblock1, f.transition1]),
        nn.ModuleList([f.denseblock2, f.transition2]),
        nn.ModuleList([f.denseblock3, f.transition3]),
        nn.ModuleList([f.denseblock4, f.norm5]),
        net.classifier,
    ]


def feature_map(net: Any) -> nn.Module:
    return net.relu  # type: ignore[no-any-return]


def checkpointed(net: Any) -> list[nn.Module]:
    """The dense blocks."""
    return [net.features.denseblock1, net.features.denseblock2, net.features.denseblock3, net.features.denseblock4]


def weight_key(key: str) -> str:
    """The published file has first names of these layers: denselayer1.norm.1.weight for denselayer1.norm1.weight."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)
