"""The losses of the steps, added up over an epoch; the first that is not finite ends the run."""

from __future__ import annotations

import math

import torch

from thorax.errors import ThoraxError
from thorax.tracking.metric_log import number
from thorax.tracking.observers import Observer
from thorax.training import distributed
from thorax.training.inputs import Hardware
from thorax.training.state import State

#: Losses stay on a GPU for this many steps before they are read; reading waits for the device.
READ_EVERY = 20


class LossLog:
    """Adds the losses of an epoch's steps to its state. On a GPU they are read now and then, not every step.

    Attributes:
        latest: the latest mean loss that is known, of all processes together.
    """

    def __init__(self, state: State, hardware: Hardware, observer: Observer | None) -> None:
        self.state, self.process, self.observer = state, hardware.process, observer
        self.every = 1 if hardware.device.type == "cpu" else READ_EVERY
        self.waiting: list[tuple[torch.Tensor, int, int, int, float]] = []
        self.latest: float | None = None

    def add(self, loss_sum: torch.Tensor, count: int, lr: float) -> None:
        """Takes this process's loss sum of a step, of `count` known labels of the global batch."""
        self.waiting.append((loss_sum, count, self.state.epoch, self.state.step, lr))
        if len(self.waiting) >= self.every:
            self.read()

    def read(self) -> None:
        """Adds the waiting losses up; raises ThoraxError with step and rate for the first that is not finite."""
        if not self.waiting:
            return
        sums = distributed.total(torch.stack([w[0] for w in self.waiting]).cpu().double(), self.process)
        for loss_sum, (_, count, epoch, step, lr) in zip(sums.tolist(), self.waiting, strict=True):
            if not math.isfinite(loss_sum):
                if self.observer is not None:
                    self.observer.step(self.state.global_step + 1, loss_sum, lr)
                raise ThoraxError(
                    f"the loss is {loss_sum} at epoch {epoch + 1} step {step + 1}, learning_rate={number(lr, 8)}; lower"
                    " learning_rate, set clip_grad_norm=1, or precision_dtype=float32; the last checkpoint is from"
                    " before"
                )
            self.state.loss_sum += loss_sum
            self.state.loss_count += count
            self.latest = loss_sum / max(count, 1)
        self.waiting.clear()
