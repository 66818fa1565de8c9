"""Learning rate as a pure function of progress: one entry of SCHEDULES each, all after the same warm-up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
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


def plateau_factor(config: TrainingConfig, losses: Iterable[float]) -> float:
    """What lr_scheduler=plateau multiplies the rate by after epochs with these validation losses; 1 by any other.

    As torch's ReduceLROnPlateau with threshold=0: one step of lr_scheduler_factor each time that more than
    lr_scheduler_patience epochs had no lower loss than the lowest so far. It follows from the losses alone, so that a
    resumed run has the same rate.
    """
    if config.resolved_scheduler != "plateau":
        return 1.0
    lowest, waited, steps = math.inf, 0, 0
    for loss in losses:
        if loss < lowest:
            lowest, waited = loss, 0
        else:
            waited += 1
        if waited > config.lr_scheduler_patience:
            waited, steps = 0, steps + 1
    return float(config.lr_scheduler_factor**steps)


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
SCHEDULES.register("plateau", _constant)  # `plateau_factor` is put on it
SCHEDULES.register("constant", _constant)
