"""Predictions of runs as jobs and other programs leave them, for tests of the comparison."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from thorax.evaluation.predictions import Predictions, columns
from thorax.labels import LabelSpace
from thorax.tables import write_table

FINDINGS = LabelSpace(("Mass", "Pleural Thickening", "Hernia"), "multilabel")
BINARY = LabelSpace(("NORMAL", "PNEUMONIA"), "binary")


def answers(space: LabelSpace, skill: float, images: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(targets, probabilities) of a model that is right the more often the higher its skill; the targets of one seed
    are always the same."""
    random = np.random.default_rng(seed)
    labels = len(space.outputs)
    y = (random.random((images, labels)) < 0.35).astype(float)
    noise = np.random.default_rng(int(skill * 1000) + 1).normal(0, 1, (images, labels))
    return y, (1 / (1 + np.exp(-(noise + skill * (y - 0.5))))).astype(np.float32)


def ids(images: int = 120) -> list[str]:
    return [f"images/{k:05}.png" for k in range(images)]


def job(
    folder: Path, y: np.ndarray, p: np.ndarray, space: LabelSpace, rate: float = 100.0, seconds: float = 60
) -> Path:
    """A finished job's folder, of two epochs; two images have one patient."""
    names, seconds = ids(len(y)), 60.0
    patients = [f"p{k // 2}" for k in range(len(y))]
    data = folder / "output" / "data"
    data.mkdir(parents=True)
    table = columns({"test": Predictions(names, patients, y, p)}, space, np.full(len(space.outputs), 0.5))
    write_table(table, data / "predictions.csv", "predictions")
    (data / "metrics.json").write_text(json.dumps({"labels": space.to_dict()}))
    rows = "".join(f"{epoch},0.5,{rate},{seconds},{seconds / 600}\n" for epoch in (1, 2))
    (data / "history.csv").write_text(f"epoch,train_loss,images_per_second,epoch_seconds,epoch_cost\n{rows}")
    return folder
