"""The average of the weights over the steps, which is scored and kept instead of the weights themselves."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class MovingAverage:
    """Exponential moving average of a network's parameters and buffers. Its decay warms up as (1 + n) / (10 + n).

    The count of steps is kept on the CPU, so that a GPU never waits for it.

    Attributes:
        module: a copy of the network that holds the average.
        steps: how many it has seen; the first one is taken as it is.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.module, self.decay, self.steps = copy.deepcopy(net), decay, 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Moves the average towards the network as it is now."""
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.steps else 1.0
        pairs = list(zip(_tensors(self.module), _tensors(net), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([average for average, _ in floats], [now for _, now in floats], weight)
        counts = [pair for pair in pairs if not pair[0].is_floating_point()]
        if counts:  # one kernel for all, not one each
            torch._foreach_copy_([average for average, _ in counts], [now for _, now in counts])
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.steps = state["steps"]


def _tensors(net: nn.Module) -> list[torch.Tensor]:
    return [p.detach() for p in net.parameters()] + list(net.buffers())
