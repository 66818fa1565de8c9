"""Every network by name. A network is one entry of `MODELS`, and the rest of the package asks only its entry.

This module does not import torch: the configuration checks names and image sizes before torch is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thorax.errors import ThoraxError
from thorax.models.families import FAMILIES
from thorax.registry import Registry

if TYPE_CHECKING:
    from torch import nn


def no_blocks(net: nn.Module) -> list[nn.Module]:
    """For a network that activation checkpointing leaves as it is."""
    return []


def same_key(key: str) -> str:
    """For a network that is published under its own keys."""
    return key


@dataclass(frozen=True)
class ModelSpec:
    """One network.

    Attributes:
        name: as in the hyperparameter `network`.
        build: (channels, outputs, dropout) -> a freshly initialised network from (N, channels, H, W) to (N, outputs)
            logits.
        stages: the network's parts from the input to the head, which hold every parameter once; for freezing and
            layer-wise learning rates.
        feature_map: the module whose output is the last map of features (N, C, h, w) or (N, h, w, C), or its tokens
            (N, T, C), for Grad-CAM.
        head: prefix of the head's parameters in a state_dict, such as "fc.".
        head_with_dropout: the prefix where dropout > 0 changes it, such as "fc.1."; empty where it does not.
        checkpointed: the blocks, each of one input, that activation checkpointing computes twice; none by default.
        smallest_side: pixels of the smallest side of an image that is accepted.
        side: pixels of the only side, height and width, that is accepted; 0 for any.
        published: whether pretrained weights of this layout are published.
        weight_key: a published state_dict's key -> the network's own key.
        requirement: what a server has to install, as in requirements.txt; empty where torchvision is enough.
    """

    name: str
    build: Callable[[int, int, float], nn.Module]
    stages: Callable[[nn.Module], list[nn.Module]]
    feature_map: Callable[[nn.Module], nn.Module]
    head: str
    head_with_dropout: str = ""
    checkpointed: Callable[[nn.Module], list[nn.Module]] = no_blocks
    smallest_side: int = 32
    side: int = 0
    published: bool = False
    weight_key: Callable[[str], str] = same_key
    requirement: str = ""


#: A name that begins so is a network of timm's; one that ends so too has a head that sees all its stages.
TIMM, STAGES = "timm/", "+stages"


class Networks(Registry[ModelSpec]):
    """The registered networks, and every `timm/NAME`; whether timm has it, `models.check` sees."""

    def __getitem__(self, name: str) -> ModelSpec:
        return _timm_spec(name) if isinstance(name, str) and name.startswith(TIMM) else super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        return (isinstance(name, str) and name.startswith(TIMM) and len(name) > len(TIMM)) or super().__contains__(name)


MODELS = Networks("network")


def names() -> tuple[str, ...]:
    """All registered networks, in the order of their registration."""
    return tuple(MODELS)


def spec_of(network: str | nn.Module) -> ModelSpec:
    """The entry of a name, or of a network that `models.build` built (its attribute `spec`).

    Raises:
        ThoraxError: the name is unknown, or the network has no entry.
    """
    if isinstance(network, str):
        return MODELS[network]
    spec = getattr(network, "spec", None)
    if not isinstance(spec, ModelSpec):
        raise ThoraxError(f"{type(network).__name__} has no ModelSpec; build it with models.build or set its spec")
    return spec


def stages(net: nn.Module) -> list[nn.Module]:
    """The network's parts from the input to the head, for freezing and layer-wise learning rates; the last is the head.

    Raises:
        ThoraxError: the network has no entry.
    """
    return spec_of(net).stages(net)


# -- The networks of this package --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Code:
    """A function by the file of this package that it is in: imported, and torch with it, when it is called.

    Attributes:
        given: its first arguments.
    """

    file: str
    function: str
    given: tuple[str, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        return getattr(importlib.import_module(f"thorax.models.{self.file}"), self.function)(*self.given, *arguments)


def _built_in(name: str, file: str, **facts: Any) -> None:
    """Registers a network of models/FILE.py, which has build(name, ...), stages, feature_map and checkpointed."""
    code: dict[str, Any] = {function: _Code(file, function) for function in ("stages", "feature_map", "checkpointed")}
    MODELS.register(name, ModelSpec(name, _Code(file, "build", (name,)), **code, **facts))


def _of_torchvision() -> None:
    file = "torchvision_nets"
    for family in FAMILIES:
        for name in family.networks:
            parts: dict[str, Any] = {
                function: _Code(file, function, (name,)) for function in ("stages", "feature_map", "checkpointed")
            }
            facts: dict[str, Any] = {"smallest_side": family.smallest_side, "side": family.side, "published": True}
            if not family.dropouts:
                facts["head_with_dropout"] = f"{family.head}.1."
            if name.startswith("densenet"):
                facts["weight_key"] = _Code("densenet", "weight_key")
            spec = ModelSpec(name, _Code(file, "build", (name,)), head=f"{family.head}.", **parts, **facts)
            MODELS.register(name, spec)


def _timm_spec(name: str) -> ModelSpec:
    pooled = name.endswith(STAGES)
    file = "timm_stages" if pooled else "timm_nets"
    return ModelSpec(
        name,
        _Code(file, "build", (name,)),
        stages=_Code(file, "stages"),
        feature_map=_Code(file, "feature_map"),
        head="",  # the built network's own entry has it
        weight_key=_Code(file, "weight_key") if pooled else same_key,
        smallest_side=1,  # tried by `models.check`
        published=True,
        requirement="timm>=1,<2",
    )


_of_torchvision()
_built_in("cnn5", "cnn5", head="fc.")
