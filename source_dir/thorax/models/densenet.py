"""DenseNet-121 to -201 (Huang et al., "Densely connected convolutional networks", 2017), torchvision's."""

from __future__ import annotations

import re

import torch
import torchvision
from torch import nn

#: Growth rate, layers of each block and features of the first layer, as the paper and torchvision have them.
_SHAPES = {
    "densenet121": (32, (6, 12, 24, 16), 64),
    "densenet161": (48, (6, 12, 36, 24), 96),
    "densenet169": (32, (6, 12, 32, 32), 64),
    "densenet201": (32, (6, 12, 48, 32), 64),
}


class DenseNet(torchvision.models.DenseNet):
    """torchvision's layers under torchvision's names, and a module for the ReLU that they end with: the head's map."""

    def __init__(self, name: str, outputs: int) -> None:
        super().__init__(*_SHAPES[name], num_classes=outputs)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.relu(self.features(x)).mean(dim=(2, 3)))
        return logits


def weight_key(key: str) -> str:
    """The published file has first names of these layers: denselayer1.norm.1.weight for denselayer1.norm1.weight."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)
