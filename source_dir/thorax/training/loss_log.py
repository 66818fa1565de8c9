"""The losses of the steps: added up over an epoch, and the one that is not finite ends the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from thorax.data.loading import Batch
from thorax.errors import ThoraxError
from thorax.tracking.metric_log import number
from thorax.training import distributed

if TYPE_CHECKING:
    from thorax.training.trainer import Trainer

#: Losses stay on a GPU for this many steps before they are looked at; a look waits for the device.
LOOK_EVERY = 20


class LossLog:
    """Losses of the steps since the last look: on a GPU a look waits for the device, so it is not taken every step."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.waiting = trainer, []  # type: ignore[var-annotated]
        self.every = 1 if trainer.device.type == "cpu" else LOOK_EVERY
        self.latest: float | None = None

    def add(self, loss_sum: torch.Tensor, batch: Batch, lr: float) -> None:
        t = self.trainer
        count = t.loss.count(t.targets["train"][batch.everyone])
        self.waiting.append((loss_sum, count, t.state.epoch, t.state.step, lr))
        if len(self.waiting) >= self.every:
            self.look()

    def look(self) -> None:
        """Adds the losses up; raises ThoraxError with step and learning rate for the first that is not finite."""
        if not self.waiting:
            return
        values = distributed.total(torch.stack([w[0] for w in self.waiting]).cpu().double(), self.trainer.process)
        s = self.trainer.state
        for value, (_, count, epoch, step, lr) in zip(values.tolist(), self.waiting, strict=True):
            if not np.isfinite(value):
                if self.trainer.observer is not None:
                    self.trainer.observer.step(s.global_step + 1, value, lr)
                raise ThoraxError(
                    f"the loss is {value} at epoch {epoch + 1} step {step + 1}, learning_rate={number(lr, 8)}; lower"
                    " learning_rate, set clip_grad_norm=1, or precision_dtype=float32; the last checkpoint is from"
                    " before"
                )
            s.loss_sum += value
            s.loss_count += count
            self.latest = value / max(count, 1)
        self.waiting.clear()
