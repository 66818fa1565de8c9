"""The averaged weights of a run's last epochs against the best epoch's, at the end of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from thorax.data.loading import loader
from thorax.tracking.metric_log import objective_key
from thorax.training import distributed
from thorax.training.precision import autocast
from thorax.training.swa import WeightAverage, measured_on
from thorax.training.validation import validation_metrics

if TYPE_CHECKING:
    from thorax.training.trainer import Trainer


def finish_average(trainer: Trainer, swa: WeightAverage) -> None:
    """Keeps the averaged weights of the last epochs where they do as well on validation as the best epoch's, and always
    in a refit, whose validation chooses nothing."""
    c, s, device = trainer.config, trainer.state, trainer.device
    requests = measured_on(len(trainer.train_images), max(1, trainer.batch_size // trainer.process.world_size))
    batches = loader(trainer.evaluator.dataset(trainer.train_images, 1), requests, trainer.hardware.workers)

    def forward(net: nn.Module, x: torch.Tensor) -> None:
        with autocast(trainer.hardware.precision, device):
            net(x)

    inputs = (trainer.prepare(b.images.to(device), b.draws.to(device)) for b in batches if not b.problem)
    swa.measure_batchnorm(trainer.net, inputs, forward)
    distributed.share_buffers(swa.module, trainer.process)
    logits = trainer.evaluator.logits(swa.module, trainer.validation_images)
    row = validation_metrics(logits, trainer.validation_images, trainer.loss, c)
    value = row[objective_key(c.objective)] * (-1 if c.objective == "loss" else 1)
    kept = trainer.keep_last or value >= s.best_value
    head = f"average of epochs {swa.first + 1} to {swa.last + 1}"
    told = "kept" if kept else f"not kept: epoch {s.best_epoch + 1} is better"
    trainer.say(f"{head}: {c.objective} on validation {abs(value):.4f}, best epoch's {abs(s.best_value):.4f}; {told}")
    if kept:
        trainer.swa_row = row
        if trainer.process.is_main:
            trainer.checkpoints.save_best({"epoch": swa.last, "model": swa.module.state_dict()})
