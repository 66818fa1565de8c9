"""Training accuracy and AUC of an epoch, from the answers of its steps, against scikit-learn."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, roc_auc_score

import trainers
from runs import CLOCKED
from thorax.data.samples import Sample, SampleSet
from thorax.job import Process
from thorax.labels import LabelSpace
from thorax.training.answers import TrainingAnswers

LABELS = LabelSpace(("Mass", "Edema"), "multilabel")
THREE = LabelSpace(("bacterial", "normal", "viral"), "multiclass")


def labelled(targets: np.ndarray, space: LabelSpace) -> SampleSet:
    samples = [Sample(f"{k}.png", f"{k}.png", row, str(k)) for k, row in enumerate(targets.astype(np.float32))]
    return SampleSet("train", samples, space)


def test_of_labels_with_unknown_and_corrupt_images():
    random = np.random.default_rng(0)
    y = (random.random((60, 2)) < 0.4).astype(float)
    y[:5, 0] = np.nan
    z = random.normal(0, 1, (60, 2)) + y.clip(0, 1)
    z = np.nan_to_num(z).astype(np.float32)
    answers = TrainingAnswers(labelled(y, LABELS), Process())
    order = random.permutation(60)[:50]  # ten images are not seen
    for some in np.array_split(order, 7):
        answers.add(torch.from_numpy(some), torch.from_numpy(z[some]).requires_grad_(), some[:1].tolist())
    corrupt = [int(some[0]) for some in np.array_split(order, 7)]
    kept = np.setdiff1d(order, corrupt)
    found = answers.metrics()
    columns = [(y[kept, k], z[kept, k]) for k in range(2)]
    known = [(t[~np.isnan(t)], v[~np.isnan(t)]) for t, v in columns]
    assert found["train_auc"] == pytest.approx(np.mean([roc_auc_score(t, v) for t, v in known]))
    right = np.concatenate([(v > 0) == t for t, v in known])
    assert found["train_accuracy"] == pytest.approx(right.mean())


def test_an_epoch_in_two_parts_is_as_one():
    random = np.random.default_rng(1)
    y, z = np.eye(3)[random.integers(0, 3, 40)], random.normal(0, 1, (40, 3)).astype(np.float32)
    whole, first = (TrainingAnswers(labelled(y, THREE), Process()) for _ in range(2))
    whole.add(torch.arange(40), torch.from_numpy(z))
    first.add(torch.arange(25), torch.from_numpy(z[:25]))
    second = TrainingAnswers(labelled(y, THREE), Process(), first.gathered())
    second.add(torch.arange(25, 40), torch.from_numpy(z[25:]))
    assert second.metrics() == whole.metrics()
    assert whole.metrics()["train_accuracy"] == pytest.approx(accuracy_score(y.argmax(1), z.argmax(1)))


def test_soft_labels_and_nothing_seen():
    y = np.array([[0.9, 0.5], [0.1, 0.5]])
    answers = TrainingAnswers(labelled(y, LABELS), Process())
    assert all(np.isnan(value) for value in answers.metrics().values())
    answers.add(torch.arange(2), torch.tensor([[2.0, 0.0], [-2.0, 0.0]]).bfloat16())
    assert answers.metrics() == {"train_accuracy": 1.0, "train_auc": 1.0}


def test_a_run_that_stops_within_an_epoch_comes_to_the_same_history(images, tmp_path):
    train = trainers.some_images(images)
    whole, _ = trainers.a_trainer(train, tmp_path / "whole", epochs=2)
    assert whole.fit()
    stopped, record = trainers.a_trainer(train, tmp_path / "stopped", epochs=2)
    record.step = lambda step, loss, rate: setattr(stopped.stop, "signal", signal.SIGTERM if step == 6 else None)
    assert not stopped.fit() and stopped.state.step == 2
    resumed, _ = trainers.a_trainer(train, tmp_path / "stopped", epochs=2)
    assert resumed.fit()

    def plain(history: list[dict[str, float]]) -> list[dict[str, float]]:
        return [{key: value for key, value in row.items() if key not in CLOCKED} for row in history]

    assert plain(resumed.state.history) == plain(whole.state.history)
    assert all(0 <= row["train_auc"] <= 1 and row["epoch_seconds"] > 0 for row in resumed.state.history)
