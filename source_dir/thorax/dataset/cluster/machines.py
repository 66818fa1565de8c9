"""Which machine of a Processing job this is, by /opt/ml/config/resourceconfig.json."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from thorax.errors import ThoraxError


@dataclass(frozen=True)
class Machine:
    """One of the job's machines: its number from 0, and how many there are."""

    rank: int
    world: int

    @classmethod
    def read(cls, file: Path) -> Machine:
        """By its name among the hosts.

        Raises:
            ThoraxError: the file is not what SageMaker Processing writes.
        """
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            hosts = sorted(stored["hosts"])
            return cls(hosts.index(stored["current_host"]), len(hosts))
        except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
            raise ThoraxError(
                f"{file} does not say which machine this is, as SageMaker Processing does: {error!r}"
            ) from None

    @property
    def first(self) -> bool:
        """Whether it puts the results together."""
        return self.rank == 0

    def share(self, units: Iterable[int]) -> list[int]:
        """Those of the units that are its own: every N-th, so that a list in order of size is shared evenly."""
        return [unit for unit in units if unit % self.world == self.rank]

    def __str__(self) -> str:
        return f"machine {self.rank + 1} of {self.world}"
