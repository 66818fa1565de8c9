"""Learning rate as a pure function of progress: one entry of SCHEDULES each, all after the same warm-up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from thorax.config import TrainingConfig
from thorax.registry import Registry

#: Share of the peak rate, 0..1, after `progress` epochs (config.epochs at the end; parts of epochs count).
Schedule: TypeAlias = Callable[[TrainingConfig, float], float]
SCHEDULES: Registry[Schedule] = Registry("schedule")


def rate(config: TrainingConfig, progress: float) -> float:
    """Learning rate after `progress` epochs: linear warm-up from 1/100 of the peak, then the run's schedule."""
    warm = warmup(config)
    if progress < warm:
        return config.learning_rate * (0.01 + 0.99 * progress / warm)
    return config.learning_rate * SCHEDULES[config.resolved_scheduler](config, progress)


def warmup(config: TrainingConfig) -> float:
    """Epochs of warm-up: at most half of the run."""
    return min(config.warmup_epochs, config.epochs / 2)


def _cosine(config: TrainingConfig, progress: float) -> float:
    """Half a cosine from the end of the warm-up to zero: Loshchilov and Hutter, "SGDR", 2017, without restarts."""
    warm = warmup(config)
    share = (progress - warm) / max(config.epochs - warm, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def _step(config: TrainingConfig, progress: float) -> float:
    return float(config.lr_scheduler_factor ** sum(progress >= step for step in config.lr_scheduler_step))


def _constant(config: TrainingConfig, progress: float) -> float:
    return 1.0


SCHEDULES.register("cosine", _cosine)
SCHEDULES.register("step", _step)
SCHEDULES.register("constant", _constant)
