"""A run's checkpoint: what is in it, and how a run goes on from one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from thorax.training import distributed
from thorax.training.answers import TrainingAnswers
from thorax.training.state import State

if TYPE_CHECKING:
    from thorax.training.trainer import Trainer


def resume(trainer: Trainer) -> None:
    """Takes up the latest checkpoint, where there is one."""
    saved = distributed.from_main(trainer.checkpoints.load_latest, trainer.process)
    if saved is None:
        return
    trainer.net.load_state_dict(saved["model"])
    trainer.optimizer.load_state_dict(saved["optimizer"])
    trainer.scaler.load_state_dict(saved["scaler"])
    if trainer.average is not None:
        trainer.average.load_state_dict(saved["average"])
    if trainer.swa is not None and saved["swa"] is not None:
        trainer.swa.load_state_dict(saved["swa"])
    torch.set_rng_state(saved["random"])
    trainer.state = State(**saved["state"])
    earlier = saved.get("answers")  # checkpoints of before have none
    trainer.answers = TrainingAnswers(
        trainer.train_images, trainer.process, None if earlier is None else earlier.numpy()
    )
    where = (
        "at its end"
        if trainer.state.finished
        else f"at epoch {trainer.state.epoch + 1} step {trainer.state.step}/{trainer.steps_per_epoch}"
    )
    trainer.say(f"resumed from a checkpoint {where}")


def save(trainer: Trainer) -> None:
    """Writes a checkpoint of the run as it is now; every process calls it."""
    trainer.last_save = time.monotonic()
    answers = trainer.answers.gathered() if trainer.state.step else None  # of all processes, so in all of them
    if not trainer.process.is_main:
        return
    trainer.checkpoints.save(
        trainer.state.global_step,
        {
            "state": vars(trainer.state) | {"seconds": trainer.meter.seconds if trainer.state.step else 0.0},
            "answers": None if answers is None else torch.from_numpy(answers),
            "model": trainer.net.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "scaler": trainer.scaler.state_dict(),
            "average": trainer.average.state_dict() if trainer.average else None,
            "swa": trainer.swa.state_dict() if trainer.swa and trainer.swa.count else None,
            "random": torch.get_rng_state(),
            "compute": {"channels_last": trainer.channels_last, "threads": trainer.hardware.threads},
        },
    )
