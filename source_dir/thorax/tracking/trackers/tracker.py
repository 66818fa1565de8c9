"""What a tracker does, and what it is told at its start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Start:
    """A run, as trackers are told of it. JSON-able but for the paths.

    Attributes:
        name: the job's.
        configuration: the hyperparameters.
        output_dir: a tracker's own files go below it.
        step: steps done; more than 0 in a resumed run.
        remembered: what this run's trackers told at an earlier start, such as their run ids.
        settings: the tracker's own: project, address, folder, mode.
    """

    name: str
    configuration: Mapping[str, Any]
    output_dir: Path
    step: int
    remembered: Mapping[str, str]
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Tell:
    """Back to the run: a line for its log, and what to remember for a resumed run."""

    say: Callable[[str], None]
    remember: Callable[[str, str], None]


class Tracker(Protocol):
    """Takes a run's numbers and files. Any exception ends its part; the run goes on.

    Its constructor takes (Start, Tell).
    """

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at an optimiser step; finite ones only."""

    def finish(
        self, outcome: str, summary: Mapping[str, float], plots: Mapping[str, Path], bundle: Path | None
    ) -> None:
        """The end: finished, stopped or failed.

        Final scores, PNG files by name, the bundle's folder where there is one.
        """
