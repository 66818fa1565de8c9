"""TrainingConfig and what reads, checks and documents it."""

from thorax.config.schema import TrainingConfig

__all__ = ["TrainingConfig"]
