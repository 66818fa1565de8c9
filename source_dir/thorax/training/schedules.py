"""Learning rate as a pure function of progress, and the optimiser with its groups of parameters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from thorax.config import TrainingConfig
from thorax.models import stages


def rate(config: TrainingConfig, progress: float) -> float:
    """Learning rate after `progress` epochs (0 at the start, config.epochs at the end; parts of epochs count).

    Linear warm-up from 1/100 of the rate, then cosine to zero, steps at whole epochs, or constant.
    """
    peak, warm = config.learning_rate, min(config.warmup_epochs, config.epochs / 2)
    if progress < warm:
        return peak * (0.01 + 0.99 * progress / warm)
    kind = config.resolved_scheduler
    if kind == "step":
        return float(peak * config.lr_scheduler_factor ** sum(progress >= step for step in config.lr_scheduler_step))
    if kind == "constant":
        return peak
    share = (progress - warm) / max(config.epochs - warm, 1e-9)
    return peak * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def optimizer(config: TrainingConfig, net: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over all parameters: a group per stage and per weight decay (biases and norms have none).

    Each group's `scale` is layer_decay to the power of its distance from the head; see `set_rate`.
    """
    parts = stages(net)
    groups: list[dict[str, Any]] = []
    for k, stage in enumerate(parts):
        scale = config.layer_decay ** (len(parts) - 1 - k)
        matrices = [p for p in stage.parameters() if p.ndim > 1]
        others = [p for p in stage.parameters() if p.ndim <= 1]
        groups += [
            {"params": ps, "weight_decay": wd, "scale": scale}
            for ps, wd in ((matrices, config.weight_decay), (others, 0.0))
            if ps
        ]
    lr = config.learning_rate
    match config.optimizer:
        case "sgd" | "nag":
            nesterov = config.optimizer == "nag" and config.momentum > 0
            opt = torch.optim.SGD(groups, lr=lr, momentum=config.momentum, nesterov=nesterov, fused=True)
            if (
                config.momentum
            ):  # a first step that a gradient scaler skips would leave torch's own buffers uninitialised
                for p in net.parameters():
                    opt.state[p]["momentum_buffer"] = torch.zeros_like(p)
            return opt
        case "adam":
            return torch.optim.Adam(groups, lr=lr, betas=(config.beta_1, config.beta_2), eps=config.eps, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, betas=(config.beta_1, config.beta_2), eps=config.eps, fused=True)
        case _:
            return torch.optim.RMSprop(groups, lr=lr, alpha=config.gamma, eps=config.eps)


def set_rate(opt: torch.optim.Optimizer, lr: float) -> None:
    for group in opt.param_groups:
        group["lr"] = lr * group["scale"]
