"""What a run reads, and by whom: workers of the whole run, which read on over the ends of epochs."""

from __future__ import annotations

from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from runs import equal
from thorax.data.loading import BatchRequest
from thorax.data.samples import SampleSet
from thorax.training.state import State
from trainers import a_trainer, before_each_batch, copied, some_images


@pytest.fixture(scope="module")
def train(images: Path) -> SampleSet:
    return some_images(images, 8, 8)


def test_workers_live_as_long_as_the_run_and_no_longer(train, tmp_path):
    seen: list[set[int | None]] = []
    trainer, record = a_trainer(
        train, tmp_path / "workers", epochs=3, log=lambda line: seen.append({p.pid for p in active_children()})
    )
    trainer.reader.workers = 1
    others = {p.pid for p in active_children()}
    assert trainer.fit()
    ours = [pids - others for pids in seen]
    assert len(ours) >= 3 and len(ours[0]) == 1 and all(pids == ours[0] for pids in ours)
    assert not ours[0] & {p.pid for p in active_children()}
    alone, expected = a_trainer(train, tmp_path / "alone", epochs=3)
    assert alone.fit() and record.losses == expected.losses


def test_epochs_and_validation_are_read_in_turn_from_the_step_on_that_is_next(train, tmp_path, monkeypatch):
    """16 images in batches of 8: two steps an epoch, and one batch of 4 validation images."""
    trainer, _ = a_trainer(train, tmp_path, epochs=3)
    trainer.state = State(epoch=1, step=1, global_step=3)
    seen: list[BatchRequest] = []
    before_each_batch(monkeypatch, seen.append)
    assert trainer.fit()
    assert [(request.epoch, len(request.places)) for request in seen] == [(1, 8), (None, 4), (2, 8), (2, 8), (None, 4)]


def test_readers_augment_on_a_cpu_and_give_the_bits_that_the_trainer_would(train, tmp_path):
    """In parts of a step, which the trainer would augment one by one; and augmented views of validation."""
    settings = {"augmentation_type": "xray", "image_shape": (1, 48, 64), "accumulation_steps": 2}
    reading, seen = a_trainer(train, tmp_path / "reading", workers=1, **settings)
    alone, wanted = a_trainer(train, tmp_path / "alone", **settings)
    reading.reader.open(0, 0)
    batch = next(reading.reader.batches)
    reading.reader.close()
    assert batch.images.dtype == torch.float32 and len(batch.draws) == 0
    assert reading.fit() and alone.fit()
    assert seen.losses == wanted.losses
    assert equal(copied(reading.net), copied(alone.net))
    assert np.array_equal(reading.logits(train, view=1), alone.logits(train, view=1))
    assert not np.array_equal(reading.logits(train, view=1), reading.logits(train))
