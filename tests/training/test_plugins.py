"""A loss, an optimizer and a network of one's own: registered from outside, by registration alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import thorax
from conftest import TINY
from thorax import models
from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.training.losses import LOSSES, Loss, LossSpec
from thorax.training.optimizers import OPTIMIZERS, Groups
from thorax.training.schedules import SCHEDULES
from trainers import TinyNet

TOY = {"loss": "toy-hinge", "optimizer": "toy-descent", "lr_scheduler": "toy-halves"}


def hinge(logits: torch.Tensor, targets: torch.Tensor, smoothed: torch.Tensor, loss: Loss) -> torch.Tensor:
    return torch.relu(1 - (2 * targets - 1) * logits)


def descent(groups: Groups, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=config.learning_rate)


@pytest.fixture
def registered() -> Iterator[None]:
    LOSSES.register("toy-hinge", LossSpec(hinge))
    OPTIMIZERS.register("toy-descent", descent)
    SCHEDULES.register("toy-halves", lambda config, progress: 0.5)
    yield
    LOSSES.remove("toy-hinge")
    OPTIMIZERS.remove("toy-descent")
    SCHEDULES.remove("toy-halves")


@pytest.mark.usefixtures("registered")
def test_a_loss_an_optimizer_and_a_schedule_train_by_registration_alone(images: Path, tmp_path: Path) -> None:
    settings = {**TINY, **TOY, "epochs": 2, "learning_rate": 0.001}
    result = thorax.train(settings, train=images / "train", output=tmp_path)
    assert [row["learning_rate"] for row in result.history] == [0.0005, 0.0005]
    losses = [row["train_loss"] for row in result.history]
    assert losses[1] < losses[0]
    stored = json.loads((result.bundle / "bundle.json").read_text())["configuration"]
    assert {name: stored[name] for name in TOY} == TOY
    assert thorax.Classifier.load(result.bundle).predict([next((images / "test/NORMAL").iterdir())]).shape == (1, 1)


@pytest.mark.parametrize("name", TOY)
def test_what_is_not_registered_is_refused(name: str) -> None:
    with pytest.raises(ThoraxError, match=f"{name}={TOY[name]} is not one of "):
        TrainingConfig(**{name: TOY[name]})


@pytest.mark.usefixtures("registered")
def test_a_name_near_a_registered_one_is_answered_with_it() -> None:
    with pytest.raises(ThoraxError, match="did you mean toy-hinge"):
        TrainingConfig(loss="toy-hinges")


@pytest.mark.skipif(not hasattr(models, "MODELS"), reason="thorax.models has no registry yet")
def test_a_network_trains_by_registration_alone(images: Path, tmp_path: Path) -> None:
    def build(channels: int, outputs: int, dropout: float) -> nn.Module:
        return TinyNet(outputs=outputs)

    spec = dataclasses.replace(
        models.MODELS["cnn5"],
        name="toy-net",
        build=build,
        stages=lambda net: [net.features, net.dense, net.fc],
        feature_map=lambda net: net.features,
    )
    models.MODELS.register("toy-net", spec)
    try:
        result = thorax.train({**TINY, "network": "toy-net"}, train=images / "train", output=tmp_path)
        assert len(result.history) == 2
        image = next((images / "test/NORMAL").iterdir())
        assert thorax.Classifier.load(result.bundle).predict([image]).shape == (1, 1)
    finally:
        models.MODELS.remove("toy-net")
