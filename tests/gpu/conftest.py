"""What the tests of GPU code share. They are skipped without a GPU.

THORAX_GPU_REHEARSAL=1 runs on the CPU those that can, to see that the tests themselves are right.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY, command, run
from thorax import models
from thorax.config import TrainingConfig
from thorax.data.loading import BatchRequest, ImageDataset
from thorax.data.parts import preprocessing
from thorax.data.samples import SampleSet
from thorax.training.checkpoints import Checkpoints
from thorax.training.inputs import Hardware, Monitoring, TrainingData
from thorax.training.trainer import Trainer
from trainers import PLAIN, some_images

REHEARSAL = bool(os.environ.get("THORAX_GPU_REHEARSAL"))


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    """The device under test."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if REHEARSAL:
        return torch.device("cpu")
    pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def cuda(gpu: torch.device) -> torch.device:
    """As `gpu`, for what a CPU cannot rehearse."""
    if gpu.type != "cuda":
        pytest.skip("no CUDA device")
    return gpu


@pytest.fixture(scope="session")
def train(images: Path) -> SampleSet:
    """Eight images of each class."""
    return some_images(images, 8, 8)


Made = tuple[Trainer, list[str]]


@pytest.fixture
def make(train: SampleSet, tmp_path: Path) -> Callable[..., Trainer]:
    """Makes a trainer on a device, in a precision, with PLAIN settings changed by others; weights from the seed."""
    count = iter(range(100))

    def made(device: torch.device, precision: str = "float32", **settings: Any) -> Trainer:
        # SGD with a rate at which rounding does not grow: a run is compared with another one, not with its scores.
        config = TrainingConfig(**{**PLAIN, "network": "resnet18", "learning_rate": 0.01, **settings})
        torch.manual_seed(config.seed)
        net = models.build(config.network, 1, 1, config.dropout, config.activation_checkpointing)
        folder = tmp_path / f"checkpoints-{next(count)}"
        folder.mkdir()
        return Trainer(
            config,
            copy.deepcopy(net),
            TrainingData(
                train, train.subset([0, 1, len(train) - 2, len(train) - 1], "validation"), preprocessing(config)
            ),
            Hardware(device, precision),
            Checkpoints(folder, {}, print),
            Monitoring(log=lambda line: None),
        )

    return made


def losses(trainer: Trainer, steps: int = 4) -> list[float]:
    """Each step's mean loss, as the trainer's own loop would make them."""
    trainer.prepare_epoch()
    images = ImageDataset(trainer.train_images, trainer.preprocessing, seed=trainer.config.seed)
    found = []
    for step in range(steps):
        places = (torch.arange(trainer.batch_size) + step * trainer.batch_size) % len(trainer.train_images)
        found.append(float(trainer.optimize(images[BatchRequest(places.numpy(), epoch=0)])) / trainer.batch_size)
        trainer.state.global_step += 1
    return found


@pytest.fixture
def job(images: Path, tmp_path: Path) -> Callable[..., Path]:
    """Runs train_model.py to its end on whatever device it finds, and returns the folder of its model."""

    def ran(name: str, *launcher: str, **settings: str) -> Path:
        words = [sys.executable, *command(images, tmp_path / name, **{"network": "resnet18", **settings})[1:]]
        done = run([*launcher, *words[1:]] if launcher else words)
        assert done.returncode == 0, done.stderr[-3000:]
        return tmp_path / name

    return ran


assert TINY["precision_dtype"] == "float32"  # what the runs of these tests are compared in
