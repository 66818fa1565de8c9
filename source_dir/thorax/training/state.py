"""Where a run is, and which of its epochs is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from thorax.config import TrainingConfig
from thorax.tracking.metric_log import objective_key


@dataclass
class State:
    """Where a run is. All of it is in every checkpoint.

    Attributes:
        epoch: the epoch being worked on, from 0; `step` steps of it are done, `global_step` of all.
        loss_sum, loss_count: of the epoch so far.
        seconds: of the epoch before the run was last started.
        best_epoch, best_value, best_loss: best epoch from 0 (-1: none yet), its objective and its validation loss.
        bad_epochs: epochs since the objective last improved by more than the tolerance.
        history: a row per finished epoch.
        finished: nothing is left to train.
    """

    epoch: int = 0
    step: int = 0
    global_step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    seconds: float = 0.0
    best_epoch: int = -1
    best_value: float = float("-inf")
    best_loss: float = float("inf")
    bad_epochs: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False

    @property
    def mean_loss(self) -> float:
        """The training loss of the epoch so far."""
        return self.loss_sum / max(self.loss_count, 1)

    def is_best(self, row: Mapping[str, float], config: TrainingConfig) -> bool:
        """Whether the epoch of this row is the best by the objective so far; if so it is noted as such.

        The lower validation loss decides between equals, and alone where the objective is undefined.
        """
        loss = row["validation_loss"]
        value = row[objective_key(config.objective)] * (-1 if config.objective == "loss" else 1)
        value = value if math.isfinite(value) else -loss
        first = self.best_epoch < 0
        improved = first or value > self.best_value + config.early_stopping_tolerance
        self.bad_epochs = 0 if improved else self.bad_epochs + 1
        if first or value > self.best_value or (value == self.best_value and loss < self.best_loss):
            self.best_epoch, self.best_value, self.best_loss = self.epoch, value, loss
            return True
        return False

    def described_best(self, config: TrainingConfig) -> str:
        """The best objective so far, such as "auc 0.912 (epoch 2)"; "" before the first epoch's end."""
        if self.best_epoch < 0 or not math.isfinite(self.best_value):
            return ""
        value = abs(self.best_value) if config.objective == "loss" else self.best_value
        name = {"auc": "AUC", "f1": "F1"}.get(config.objective, config.objective.replace("_", " "))
        return f"{name} {value:.3f} (epoch {self.best_epoch + 1})"

    def next_epoch(self, config: TrainingConfig) -> bool:
        """Goes to the next epoch, or to the end of the run. Returns whether that end is an early one."""
        self.epoch, self.step, self.loss_sum, self.loss_count = self.epoch + 1, 0, 0.0, 0
        self.seconds = 0.0
        early = (
            config.early_stopping
            and self.epoch >= config.early_stopping_min_epochs
            and self.bad_epochs >= config.early_stopping_patience
        )
        self.finished = self.epoch >= config.epochs or early
        return early and self.epoch < config.epochs
