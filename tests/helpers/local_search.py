"""A search on this machine whose jobs are made up: the recipe, what stands in the toolkit's place, the command."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from thorax_launch.cli import tune

RECIPE = """
hyperparameters: {network: cnn5, epochs: 4, batch_size: 8}
tune:
  max_jobs: 5
  ranges:
    lr: {min: 0.0001, max: 0.1, scale: log}
    batch_size: {choices: [32, 64, 128]}
    warmup_epochs: {min: 0, max: 0.5}
    early_stopping_patience: {min: 1, max: 4}
"""


class FakeToolkit:
    """In the place of the toolkit: a job whose log is made up from its hyperparameters, by `log`."""

    log: Callable[[dict[str, str]], list[str]]
    stopped_jobs: ClassVar[list[str]] = []

    def __init__(self, job, program) -> None:
        self.job, self.stopped = job, False

    def start(self) -> None:
        (self.job.checkpoints / "checkpoint-1.pt").write_text("much")

    def stop(self) -> None:
        self.stopped = True
        self.stopped_jobs.append(self.job.base.name)

    def lines(self):
        stored = json.loads((self.job.config / "hyperparameters.json").read_text())
        for line in type(self).log({key: json.loads(text) for key, text in stored.items()}):
            if not self.stopped:
                yield line

    def wait(self) -> int:
        return 130 if self.stopped else 0


def good(values: dict[str, str]) -> list[str]:
    """Best at lr=0.01; better from epoch to epoch."""
    import math

    best = 0.95 - 0.1 * abs(math.log10(float(values["lr"])) + 2)
    lines = [f"epoch {i}/4: train_loss=0.5; validation_auc={best - 0.05 * (4 - i):.6f}" for i in range(1, 5)]
    return ["reading images", *lines, f"best epoch 4/4: validation_loss=0.3; validation_auc={best:.6f}"]


def search(*words: str) -> int:
    return tune.main(["own.yaml", "--local", "--train", "images", "--job-name", "it", *words])


def rows() -> list[dict[str, str]]:
    with Path("runs/it/leaderboard.csv").open() as file:
        return list(csv.DictReader(file))
