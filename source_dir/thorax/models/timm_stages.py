"""`timm/NAME+stages`: a network of timm whose head sees every stage's map of features, not only the last one's.

Early stages answer to texture and keep what they were pretrained to see; a last layer alone sees what is left of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from thorax.errors import ThoraxError
from thorax.models import timm_nets
from thorax.models.registry import STAGES, spec_of


class StagePooled(nn.Module):
    """timm's network without its classifier, and one linear layer over the averages of all its stages' maps.

    Attributes:
        body: timm's network; it keeps timm's names below `body.`.
        head: of the (N, features) averages.
    """

    def __init__(self, body: nn.Module, features: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, outputs) logits of (N, C, H, W) images."""
        averages = torch.cat([m.float().mean((2, 3)) for m in _maps(self.body, x)], 1)
        return self.head(self.dropout(averages))  # type: ignore[no-any-return]


def build(name: str, channels: int, outputs: int, dropout: float) -> nn.Module:
    """The network of that name.

    Raises:
        ThoraxError: as `timm_nets.build`; or its stages give no maps.
    """
    body: Any = timm_nets.build(name.removesuffix(STAGES), channels, 0, 0.0)
    with torch.random.fork_rng([]), torch.device("meta"):
        twin: Any = timm_nets.build(name.removesuffix(STAGES), channels, 0, 0.0).eval()
        try:
            maps = _maps(twin, torch.empty(1, channels, *timm_nets.own_size(twin)))
        except Exception:
            maps = []
    if len(maps) < 2 or any(m.ndim != 4 for m in maps):
        raise ThoraxError(
            f"network={name}: the stages of {name.removesuffix(STAGES)} give no maps of features to average; leave"
            f" {STAGES} out"
        )
    for place in (body.spec.head.split(".")[0], "pre_logits"):  # of timm's head: not used here
        for parameter in getattr(body, place, nn.Identity()).parameters():
            parameter.requires_grad_(False)
    net = StagePooled(body, sum(m.shape[1] for m in maps), outputs, dropout)
    net.spec = replace(spec_of(name), head="head.")  # type: ignore[assignment]
    return net


def stages(net: Any) -> list[nn.Module]:
    """The body's stages, then the head."""
    *parts, unused = timm_nets.stages(net.body)
    return [*parts, nn.ModuleList([unused, net.head])]


def feature_map(net: Any) -> nn.Module:
    """The body's last map."""
    return timm_nets.feature_map(net.body)


def weight_key(key: str) -> str:
    """timm's name -> below `body.`."""
    return key if key.startswith("body.") or key in ("head.weight", "head.bias") else f"body.{key}"


def _maps(body: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """(N, C, h, w) after each stage, and the last one before the classifier: once, where no layer widens it."""
    last, maps = body.forward_intermediates(x)
    return [*(maps[:-1] if maps[-1].shape == last.shape else maps), last]
