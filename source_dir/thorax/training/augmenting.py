"""Who augments: a GPU its own batches; on a CPU the processes that read images, so that no step waits for it."""

from __future__ import annotations

from thorax.config import TrainingConfig
from thorax.data.augment import Augmentation, AugmentationRanges
from thorax.training.inputs import Hardware


def augmentation(config: TrainingConfig) -> Augmentation:
    """As the configuration asks."""
    return Augmentation(AugmentationRanges.named(config.augmentation_type, config.augmentation_strength))


def by_readers(config: TrainingConfig, hardware: Hardware) -> Augmentation | None:
    """What the reading workers do; None: the trainer does it. Either way an image gets the same bits."""
    found = augmentation(config)
    on_cpu = hardware.device.type == "cpu"
    return found if on_cpu and hardware.workers and found.ranges != AugmentationRanges() else None
