"""The last layer fitted before the first step: fine-tuning then starts from what the features can do already."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from thorax.text import counted
from thorax.training.head_fit import HeadInputs, fit_head, linear_head

if TYPE_CHECKING:
    from thorax.training.trainer import Trainer


def fit_first(trainer: Trainer) -> None:
    """The last layer of the network as it starts, fitted to all training images as served."""
    start, head = time.monotonic(), linear_head(trainer.net)
    features = torch.from_numpy(trainer.evaluator.logits(HeadInputs(trainer.net), trainer.train_images)).to(
        trainer.device
    )
    read = torch.isfinite(features).all(1)
    features, targets = features[read], trainer.targets.to(trainer.device)[read]
    count = max(trainer.loss.count(targets.cpu()), 1)
    with torch.enable_grad():
        loss = fit_head(head, features, lambda z: trainer.loss.sum(z, targets) / count, trainer.config.fit_head)
    trainer.say(
        f"head fitted to {counted(head.in_features, 'feature')} of {counted(len(features), 'image')}:"
        f" loss {loss:.3f}, {time.monotonic() - start:.0f} s"
    )
