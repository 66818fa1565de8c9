"""TrainingConfig and what reads, checks and documents it."""

from thorax.config.training_config import TrainingConfig

__all__ = ["TrainingConfig"]
