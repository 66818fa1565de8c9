"""Optimizers: one entry of OPTIMIZERS each, over groups of parameters with their own rate and weight decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import nn

from thorax.config import TrainingConfig
from thorax.models import stages
from thorax.registry import Registry

#: Parameters with their weight_decay, as torch.optim takes them, and `scale`, see `set_rate`.
Groups: TypeAlias = list[dict[str, Any]]
OPTIMIZERS: Registry[Callable[[Groups, TrainingConfig], torch.optim.Optimizer]] = Registry("optimizer")


def build_optimizer(config: TrainingConfig, net: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over all parameters: a group per stage and per weight decay (biases and norms have none).

    Each group's `scale` is layer_decay to the power of its distance from the head.
    """
    parts = stages(net)
    groups: Groups = []
    for k, stage in enumerate(parts):
        scale = config.layer_decay ** (len(parts) - 1 - k)
        matrices = [p for p in stage.parameters() if p.ndim > 1]
        others = [p for p in stage.parameters() if p.ndim <= 1]
        groups += [
            {"params": ps, "weight_decay": wd, "scale": scale}
            for ps, wd in ((matrices, config.weight_decay), (others, 0.0))
            if ps
        ]
    return OPTIMIZERS[config.optimizer](groups, config)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Gives each group the learning rate times its `scale`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]


def _sgd(groups: Groups, c: TrainingConfig) -> torch.optim.Optimizer:
    nesterov = c.optimizer == "nag" and c.momentum > 0
    optimizer = torch.optim.SGD(groups, lr=c.learning_rate, momentum=c.momentum, nesterov=nesterov, fused=True)
    if c.momentum:  # a first step that a gradient scaler skips would leave torch's own buffers uninitialised
        for p in (p for group in groups for p in group["params"]):
            optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer


def _adam(groups: Groups, c: TrainingConfig) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if c.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=c.learning_rate, betas=(c.beta_1, c.beta_2), eps=c.eps, fused=True)


def _rmsprop(groups: Groups, c: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(groups, lr=c.learning_rate, alpha=c.gamma, eps=c.eps)


OPTIMIZERS.register("sgd", _sgd)
OPTIMIZERS.register("nag", _sgd)
OPTIMIZERS.register("adam", _adam)
OPTIMIZERS.register("adamw", _adam)
OPTIMIZERS.register("rmsprop", _rmsprop)
