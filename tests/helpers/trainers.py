"""Trainers of a tiny network on a few images, in this process, and what they did step by step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from thorax.config import TrainingConfig
from thorax.data.formats import read_channel
from thorax.data.loading import Batch, BatchRequest, ImageDataset
from thorax.data.parts import preprocessing
from thorax.data.samples import SampleSet, label_space, sample_set
from thorax.models import MODELS
from thorax.models.cnn5 import FiveLayerCNN
from thorax.tracking.observers import Observer
from thorax.training.checkpoints import Checkpoints
from thorax.training.inputs import Hardware, Monitoring, TrainingData
from thorax.training.trainer import Trainer

CPU = torch.device("cpu")
Weights = dict[str, torch.Tensor]
#: Plain gradient descent, so that a step can be worked out by hand.
PLAIN = {
    "network": "cnn5",
    "image_shape": (1, 32, 32),
    "epochs": 2,
    "batch_size": 8,
    "optimizer": "sgd",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "learning_rate": 0.05,
    "lr_scheduler": "constant",
    "warmup_epochs": 0.0,
    "augmentation_type": "none",
    "seed": 3,
    "log_seconds": 1e9,
    "checkpoint_frequency": 1000,
}


class TinyNet(FiveLayerCNN):
    """Stages as the five-layer CNN has them, with two convolutions and a thousandth of the weights."""

    spec = MODELS["cnn5"]

    def __init__(self, norm: bool = True, outputs: int = 1) -> None:
        nn.Module.__init__(self)
        self.features = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(a, b, 3, padding=1, bias=not norm),
                    nn.BatchNorm2d(b) if norm else nn.Identity(),
                    nn.ReLU(),
                    nn.MaxPool2d(4),
                )
                for a, b in ((1, 4), (4, 8))
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.dense = nn.Sequential(nn.Linear(32, 16), nn.ReLU())
        self.fc = nn.Linear(16, outputs)


class Record(Observer):
    """What a run did: losses, and the network after every step and every epoch.

    Attributes:
        losses: one per step.
        stages: of all steps, in the order in which they began.
        nets: copies of the network, before the first step and after each.
        gradients_of: each step's gradients by name, not clipped.
        eval_models: the scored network's weights after each epoch.
    """

    def __init__(self) -> None:
        self.losses: list[float | None] = []
        self.stages: list[str] = []
        self.nets: list[nn.Module] = []
        self.gradients_of: list[Weights] = []
        self.eval_models: list[Weights] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.stages.append(name)
        yield

    def attach(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.nets.append(copy.deepcopy(trainer.net))

    def gradients(self, step: int, loss: Any, net: nn.Module) -> None:
        self.gradients_of.append({key: p.grad.clone() for key, p in net.named_parameters() if p.grad is not None})

    def step(self, step: int, loss: float | None, learning_rate: float) -> None:
        self.losses.append(loss)
        self.nets.append(copy.deepcopy(self.trainer.net))

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        self.eval_models.append(copied(self.trainer.eval_model))

    def moves(self) -> Iterator[Weights]:
        """What each step added to each parameter."""
        for before, after in zip(self.nets, self.nets[1:], strict=False):
            old = dict(before.named_parameters())
            yield {key: (p - old[key]).detach() for key, p in after.named_parameters()}


def copied(net: nn.Module) -> Weights:
    return {key: value.clone() for key, value in net.state_dict().items()}


def length(values: Weights) -> float:
    """The norm of all of them together."""
    return float(torch.cat([v.flatten() for v in values.values()]).double().norm())


def some_images(images: Path, normal: int = 16, pneumonia: int = 16) -> SampleSet:
    """The first images of each class of the small channel `images`."""
    listing = read_channel("train", images / "train", "folder")
    whole = sample_set("train", listing, label_space(listing, (), None))
    of_class = [np.flatnonzero(whole.targets[:, 0] == k) for k in (0, 1)]
    return whole.subset(np.concatenate([of_class[0][:normal], of_class[1][:pneumonia]]), "train")


def a_trainer(
    train: SampleSet,
    folder: Path,
    net: nn.Module | None = None,
    *,
    validation: SampleSet | None = None,
    precision: str = "float32",
    workers: int = 0,
    log: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> tuple[Trainer, Record]:
    """A trainer with the PLAIN settings changed by `settings`, and its record; validated on two images of each end of
    `train`.
    """
    config = TrainingConfig(**{**PLAIN, **settings})
    if net is None:
        torch.manual_seed(config.seed)
        net = TinyNet(outputs=len(train.space.outputs))
    validation = validation or train.subset([0, 1, len(train) - 2, len(train) - 1], "validation")
    folder.mkdir(parents=True, exist_ok=True)
    record = Record()
    trainer = Trainer(
        config,
        copy.deepcopy(net),
        TrainingData(train, validation, preprocessing(config)),
        Hardware(precision=precision, workers=workers),
        Checkpoints(folder, {}, print),
        Monitoring(observer=record, log=log),
    )
    return trainer, record


def validated_as(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, epochs: Sequence[Sequence[float]]) -> None:
    """After epoch k the validation images, two normal and two not, get the logits `epochs[k]`; after the run
    those of the network.
    """
    assert trainer.validation_images.targets[:, 0].tolist() == [0, 0, 1, 1]
    given, real = iter(epochs), trainer.validation_logits

    def logits() -> np.ndarray:
        real()
        return np.array(next(given), np.float32)[:, None]

    monkeypatch.setattr(trainer, "validation_logits", logits)


def before_each_batch(monkeypatch: pytest.MonkeyPatch, call: Callable[[BatchRequest], object]) -> None:
    """Calls `call(request)` whenever a batch is read, for training and for scoring."""
    real = ImageDataset.__getitem__

    def read(images: ImageDataset, request: BatchRequest) -> Batch:
        call(request)
        return real(images, request)

    monkeypatch.setattr(ImageDataset, "__getitem__", read)
