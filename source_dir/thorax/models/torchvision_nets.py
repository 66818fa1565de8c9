"""Any classification network of torchvision, by its family's entry in `families`."""

from __future__ import annotations

from typing import Any

import torchvision
from torch import nn

from thorax.models.densenet import DenseNet
from thorax.models.families import FAMILY_OF
from thorax.models.layers import dropout_before, first_layer, parts_of


def build(name: str, channels: int, outputs: int, dropout: float) -> nn.Module:
    """torchvision's network of that name, for images of that many channels, with dropout in front of its last layer."""
    family = FAMILY_OF[name]
    net: Any = (
        DenseNet(name, outputs)
        if name.startswith("densenet")
        else torchvision.models.get_model(name, num_classes=outputs, **dict(family.options))
    )
    place, conv = next((place, m) for place, m in net.named_modules() if isinstance(m, nn.Conv2d))
    net.set_submodule(place, first_layer(conv, channels))
    for part in family.dropouts:
        for layer in net.get_submodule(part).modules():
            if isinstance(layer, nn.Dropout):
                layer.p = dropout
    if not family.dropouts:
        net.set_submodule(family.head, dropout_before(net.get_submodule(family.head), dropout))
    return net  # type: ignore[no-any-return]


def stages(name: str, net: nn.Module) -> list[nn.Module]:
    parts: list[nn.Module] = []
    for text in FAMILY_OF[name].stages:
        if text.endswith(".*"):
            parts += parts_of(net.get_submodule(text.removesuffix(".*")))
        else:
            parts.append(_together(net, text.split()))
    return parts


def feature_map(name: str, net: nn.Module) -> nn.Module:
    found: Any = net
    for step in FAMILY_OF[name].feature_map.split("."):
        found = list(found)[-1] if step == "-1" else getattr(found, step)
    return found  # type: ignore[no-any-return]


def checkpointed(name: str, net: nn.Module) -> list[nn.Module]:
    found: list[nn.Module] = []
    for place in FAMILY_OF[name].blocks:
        part = net.get_submodule(place.removesuffix(".*"))
        found += part.children() if place.endswith(".*") else [part]
    return found


def _together(net: nn.Module, places: list[str]) -> nn.Module:
    """One module with all that lies at these places: modules, and single parameters such as a position's code."""
    found = [_at(net, place) for place in places]
    if len(found) == 1 and isinstance(found[0], nn.Module):
        return found[0]
    loose = [p for p in found if isinstance(p, nn.Parameter)]
    return nn.ModuleList(
        [*([nn.ParameterList(loose)] if loose else []), *(m for m in found if isinstance(m, nn.Module))]
    )


def _at(net: nn.Module, place: str) -> nn.Module | nn.Parameter:
    found: Any = net
    for step in place.split("."):
        found = getattr(found, step)
    return found  # type: ignore[no-any-return]
