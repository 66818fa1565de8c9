"""Stochastic weight averaging: the mean of the weights at the ends of the last epochs, which often generalises better
than any of them (Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from thorax.data.loading import BatchRequest

#: Training images that batch norms are measured on anew, at most, evenly from all; each process takes the same.
MEASURED = 4096


class WeightAverage:
    """The mean of a network's weights over the last epochs of a run.

    Args:
        net: the network, of which a copy holds the mean.
        epochs: of the run.
        averaged: how many of them, the last ones, are averaged.
    """

    def __init__(self, net: nn.Module, epochs: int, averaged: int) -> None:
        self.first, self.last = epochs - averaged, epochs - 1
        self._average = AveragedModel(net)  # type: ignore[no-untyped-call]

    @property
    def module(self) -> nn.Module:
        """The network with the mean of the weights."""
        return self._average.module

    @property
    def count(self) -> int:
        """Epochs that are in the mean."""
        return int(self._average.n_averaged)

    def update(self, net: nn.Module, epoch: int) -> None:
        """Takes the weights at the end of an epoch (from 0), where it is one of the last."""
        if epoch >= self.first:
            self._average.update_parameters(net)

    def measure_batchnorm(self, net: nn.Module, inputs: Iterable[torch.Tensor], forward: Callable[..., Any]) -> None:
        """Batch norms' statistics under the mean weights: no network that was averaged had them.

        Every batch counts alike, as in torch.optim.swa_utils.update_bn. What is frozen in `net` stays as it is.

        Args:
            net: the trained network, which says what is frozen.
            inputs: the network's input, batch by batch.
            forward: called with the network and each batch.
        """
        trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
        norms = [
            module
            for name, module in self.module.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and f"{name}.weight" in trained
        ]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        self.module.eval()
        for norm in norms:
            norm.train()
        with torch.no_grad():
            for k, x in enumerate(inputs):
                for norm in norms:
                    norm.momentum = 1 / (k + 1)
                forward(self.module, x)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.module.eval()

    def state_dict(self) -> dict[str, Any]:
        return self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._average.load_state_dict(state)


def measured_on(images: int, batch: int) -> list[BatchRequest]:
    """The batches of augmented training images that batch norms are measured on, whole ones but for a single one."""
    places = np.unique(np.linspace(0, images - 1, min(images, MEASURED)).round().astype(int))
    parts = [places[k : k + batch] for k in range(0, len(places), batch)]
    return [BatchRequest(part, view=1) for part in parts if len(part) == len(parts[0])]
