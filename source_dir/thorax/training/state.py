"""Where a run is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class State:
    """Where a run is. All of it is in every checkpoint.

    Attributes:
        epoch: the epoch being worked on, from 0; `step` steps of it are done, `global_step` of all.
        loss_sum, loss_count: of the epoch so far.
        best_epoch, best_value, bad_epochs: best epoch from 0 (-1: none yet), its objective, and epochs since.
        history: a row per finished epoch.
        finished: nothing is left to train.
    """

    epoch: int = 0
    step: int = 0
    global_step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best_epoch: int = -1
    best_value: float = float("-inf")
    best_loss: float = float("inf")
    bad_epochs: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False
