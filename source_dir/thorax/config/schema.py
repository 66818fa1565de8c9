"""Every hyperparameter under one flat name: what a configuration holds."""

from __future__ import annotations

from dataclasses import dataclass

from thorax.config.groups import (
    Augmentation,
    Checkpointing,
    Data,
    Network,
    Optimisation,
    Scores,
    Speed,
    Stopping,
    Watching,
)

#: The groups by their titles, in the order of the reference page.
GROUPS: dict[str, type] = {
    "Network": Network,
    "Data": Data,
    "Augmentation": Augmentation,
    "Optimisation": Optimisation,
    "Stopping": Stopping,
    "Speed and memory": Speed,
    "Scores": Scores,
    "Checkpoints": Checkpointing,
    "Watching": Watching,
}


@dataclass(frozen=True)
class Fields(
    Watching, Checkpointing, Scores, Speed, Stopping, Optimisation, Augmentation, Data, Network
):  # dataclass takes the fields of the last base first: this is the order of GROUPS
    """Every hyperparameter under its flat name, and what follows from several of them."""

    @property
    def channels(self) -> int:
        return self.image_shape[0]

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image_shape[1], self.image_shape[2]

    @property
    def resolved_scheduler(self) -> str:
        """`lr_scheduler` with auto resolved."""
        if self.lr_scheduler != "auto":
            return self.lr_scheduler
        return "step" if self.lr_scheduler_step else "cosine"

    @property
    def resolved_fit(self) -> str:
        """`fit` with auto resolved."""
        if self.fit != "auto":
            return self.fit
        return "crop" if self.resize or self.augmentation_type.startswith("crop") else "stretch"
