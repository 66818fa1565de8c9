"""The five-layer CNN, a small network of this package."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn


class FiveLayerCNN(nn.Module):
    """Five 3x3 convolutions (16 to 256 filters) with batch norm, ReLU and 2x2 max pooling, then two dense layers.

    Made for images of 112x160 pixels, which leave a 3x5 map; other sizes are pooled to it.
    """

    def __init__(self, channels: int, outputs: int, dropout: float) -> None:
        super().__init__()
        widths = (channels, 16, 32, 64, 128, 256)
        self.features = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True), nn.MaxPool2d(2)
                )
                for a, b in pairwise(widths)
            )
        )
        self.pool = nn.AdaptiveAvgPool2d((3, 5))
        self.dense = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(256 * 15, 2048), nn.ReLU(inplace=True), nn.Dropout(dropout)
        )
        self.fc = nn.Linear(2048, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.dense(torch.flatten(self.pool(self.features(x)), 1)))
        return logits


def build(name: str, channels: int, outputs: int, dropout: float) -> nn.Module:
    return FiveLayerCNN(channels, outputs, dropout)


def stages(net: Any) -> list[nn.Module]:
    return [*net.features, net.dense, net.fc]


def feature_map(net: Any) -> nn.Module:
    return net.features  # type: ignore[no-any-return]


def checkpointed(net: Any) -> list[nn.Module]:
    """Each convolution with its batch norm, ReLU and pooling."""
    return list(net.features)
