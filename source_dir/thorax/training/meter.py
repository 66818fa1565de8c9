"""How fast an epoch goes, and what it costs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class EpochMeter:
    """This process's part of an epoch, since the run was last started.

    Attributes:
        before: seconds of the epoch before that.
        images: seen.
        waited: seconds waited for them.
    """

    before: float = 0.0
    images: int = 0
    waited: float = 0.0
    started: float = field(default_factory=lambda: time.monotonic())

    @property
    def elapsed(self) -> float:
        """Seconds since the run was last started, or the epoch began."""
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def seconds(self) -> float:
        """Of the whole epoch so far, without what a stopped run waited for its next start."""
        return self.before + self.elapsed

    def end(self, hour_price: float | None) -> dict[str, float]:
        """{"epoch_seconds", and where the price of an hour is known "epoch_cost" in dollars}, validation included."""
        seconds = self.seconds
        cost = {} if hour_price is None else {"epoch_cost": seconds / 3600 * hour_price}
        return {"epoch_seconds": seconds, **cost}
