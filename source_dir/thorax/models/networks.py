"""ResNet 18-152, AlexNet and the five-layer CNN: one or three input channels, any number of logits."""

from __future__ import annotations

from typing import Any

import torchvision
from torch import nn

from thorax.errors import ThoraxError
from thorax.models.checkpointing import checkpoint_activations
from thorax.models.cnn5 import FiveLayerCNN


def build(
    network: str, channels: int, outputs: int, dropout: float = 0.0, activation_checkpointing: bool = False
) -> nn.Module:
    """A freshly initialised network: (N, channels, H, W) float -> (N, outputs) logits.

    Args:
        network: resnet18, resnet34, resnet50, resnet101, resnet152, alexnet or cnn5.
        channels: 1 or 3.
        dropout: 0..1; before the last layer (ResNets) or in the dense layers.
        activation_checkpointing: keep only each block's input in the forward pass.

    Raises:
        ThoraxError: another network.
    """
    if network == "cnn5":
        net: Any = FiveLayerCNN(channels, outputs, dropout)
    elif network == "alexnet":
        net = torchvision.models.alexnet(num_classes=outputs, dropout=dropout)
        net.features[0] = _first_layer(net.features[0], channels)
    else:
        resnet = getattr(torchvision.models, network, None) if network.startswith("resnet") else None
        if resnet is None:
            raise ThoraxError(
                f"network={network} is not known here; choose resnet18, 34, 50, 101 or 152, alexnet or cnn5"
            )
        net = resnet(num_classes=outputs)
        net.conv1 = _first_layer(net.conv1, channels)
        if dropout:
            net.fc = nn.Sequential(nn.Dropout(dropout), net.fc)
    if activation_checkpointing:
        checkpoint_activations(net)
    assert isinstance(net, nn.Module)
    return net


def _first_layer(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    if channels == conv.in_channels:
        return conv
    options: Any = {name: getattr(conv, name) for name in ("kernel_size", "stride", "padding")}
    return nn.Conv2d(channels, conv.out_channels, bias=conv.bias is not None, **options)


def stages(net: nn.Module) -> list[nn.Module]:
    """The network's parts from the input to the head, for freezing and layer-wise learning rates.

    The last is the head.
    """
    if isinstance(net, FiveLayerCNN):
        return [*net.features, net.dense, net.fc]
    if isinstance(net, torchvision.models.AlexNet):
        convs = [nn.ModuleList([layer]) for layer in net.features if isinstance(layer, nn.Conv2d)]
        return [*convs, net.classifier[1], net.classifier[4], net.classifier[6]]
    assert isinstance(net, torchvision.models.ResNet)
    return [nn.ModuleList([net.conv1, net.bn1]), net.layer1, net.layer2, net.layer3, net.layer4, net.fc]
