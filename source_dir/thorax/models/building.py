"""A network by its name."""

from __future__ import annotations

import math

import torch
from torch import nn

from thorax.models.checkpointing import checkpoint_activations
from thorax.models.registry import STAGES, TIMM, spec_of


def build(
    network: str, channels: int, outputs: int, dropout: float = 0.0, activation_checkpointing: bool = False
) -> nn.Module:
    """A freshly initialised network: (N, channels, H, W) float -> (N, outputs) logits. Its `spec` is its entry.

    Args:
        network: a name of `models.names()`.
        channels: 1 or 3.
        dropout: 0..1; before the last layer, or in the dense layers where there are several.
        activation_checkpointing: keep only each block's input in the forward pass.

    Raises:
        ThoraxError: an unknown name; the message lists the known ones and the nearest one.
    """
    spec = spec_of(network)
    net = spec.build(channels, outputs, dropout)
    if not hasattr(net, "spec"):
        net.spec = spec  # type: ignore[assignment]
    _narrow_head(net)
    if activation_checkpointing:
        checkpoint_activations(spec.checkpointed(net))
    return net


def _narrow_head(net: nn.Module) -> None:
    """Draws a head anew that its library drew more than twice as wide as torch draws a linear layer, by its inputs.

    EfficientNets, MNASNets and others draw it by the number of outputs, meant for a thousand: of a single one the
    weights are up to 1, the first logits tens, and their gradients spoil pretrained features in a few steps.
    """
    prefix = spec_of(net).head
    for place, layer in net.named_modules():
        if isinstance(layer, nn.Linear) and f"{place}.".startswith(prefix) and not layer.weight.is_meta:
            bound = 1 / math.sqrt(layer.in_features)
            if layer.weight.std(correction=0) > 2 * bound / math.sqrt(3):
                nn.init.uniform_(layer.weight, -bound, bound)


def hollow(network: str, channels: int, outputs: int, dropout: float = 0.0) -> nn.Module:
    """As `build`, but without memory for its weights, where the network can be built so; nothing random is drawn."""
    with torch.random.fork_rng([]):
        try:
            with torch.device("meta"):
                return build(network, channels, outputs, dropout)
        except (NotImplementedError, RuntimeError):  # it computes its layers' widths by torch, as RegNets do
            return build(network, channels, outputs, dropout)


def check(network: str, channels: int, height: int, width: int) -> None:
    """What the configuration cannot know of a network without importing its library; before any data is read.

    Raises:
        ThoraxError: timm is not installed, has no such network, or the network does not take that size.
    """
    if network.startswith(TIMM):
        from thorax.models import timm_nets

        timm_nets.check(network.removesuffix(STAGES), channels, height, width)
        if network.endswith(STAGES):  # raises where the stages give no maps
            hollow(network, channels, 1)
