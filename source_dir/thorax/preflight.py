"""What a training job refuses by its configuration and its listings alone, checked before it is paid for.

The launcher calls this on the folders that it is about to upload; no image is opened and nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from thorax import models
from thorax.config import TrainingConfig
from thorax.data.parts import Parts, read_parts
from thorax.data.streaming import streams
from thorax.errors import ThoraxError
from thorax.job import Job
from thorax.training.losses import Loss, capped_weights

#: Words of a message that a package is missing here; the job's own requirements bring it.
_INSTALL = "pip install"


def check_network(config: TrainingConfig) -> list[str]:
    """Notes on what cannot be checked here.

    Raises:
        ThoraxError: there is no such network, or it does not take images of that size.
    """
    try:
        models.check(config.network, config.channels, *config.image_size)
    except ThoraxError as error:
        if _INSTALL not in str(error):
            raise
        return [f"network={config.network} is not checked here: {error}"]
    return []


def check_weights(config: TrainingConfig, place: Path) -> None:
    """Raises ThoraxError where the weights at `place` cannot be read, or do not fit the network."""
    models.check_weights(models.find_weights(place), config.network, config.channels, config.dropout)


def check_listing(config: TrainingConfig, channels: Mapping[str, Path], processes: int = 1) -> list[str]:
    """Reads the channels' listings as the job will, and checks what depends on them.

    Args:
        channels: name -> folder of this machine; `train` is one of them.
        processes: of the whole run.

    Returns:
        The lines that the job would log of its data: warnings, and the parts with their counts.

    Raises:
        ThoraxError: what the job would refuse.
    """
    lines: list[str] = []
    try:
        parts = read_parts(Job.below(Path("nowhere"), dict(channels)), config, lines.append, headers=False)
    except ThoraxError as error:
        if _INSTALL not in str(error):
            raise
        return [f"the images are not checked here: {error}"]
    _check_training(config, parts, processes)
    lines += [f"warning: {line}" for line in [capped_weights(parts.train, config)] if line]
    return [line for line in lines if line.startswith(("warning:", *(f"{part.part}: " for part in parts.all)))]


def _check_training(config: TrainingConfig, parts: Parts, processes: int) -> None:
    if len(parts.train) < processes:
        raise ThoraxError(f"train has {len(parts.train)} images for {processes} processes; start fewer processes")
    streams(config.streaming, config.balanced_sampler, parts.train)
    Loss.build(config, parts.space, parts.train, torch.device("cpu"))
