"""The interface of a tracker: the messages that it receives, its class, and its entry in the registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.job import Job


@dataclass(frozen=True)
class StartMessage:
    """A run begins or is resumed; one message a tracker.

    Attributes:
        tracker: the tracker's name in the registry.
        tracker_class: its class, as module:Class.
        install: what to install where it cannot be imported; may be empty.
        name: the job's.
        configuration: the hyperparameters.
        output_dir: absolute path; a tracker's own files go below it.
        step: optimizer steps done; more than 0 in a resumed run.
        remembered: what this run's trackers gave to RunLink.remember at an earlier start, such as their run ids.
        settings: the tracker's own, from its TrackerSpec: project, address, folder, mode.
    """

    tracker: str
    tracker_class: str
    install: str
    name: str
    configuration: Mapping[str, Any]
    output_dir: str
    step: int
    remembered: Mapping[str, str]
    settings: Mapping[str, str]


@dataclass(frozen=True)
class MetricsMessage:
    """Values by name at an optimizer step; finite ones only."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class FinishMessage:
    """The run is over.

    Attributes:
        outcome: finished, stopped or failed.
        summary: final scores by name.
        plots: name -> path of a PNG file.
        bundle: the bundle's folder; None where there is none.
    """

    outcome: str
    summary: Mapping[str, float] = field(default_factory=dict)
    plots: Mapping[str, str] = field(default_factory=dict)
    bundle: str | None = None


Message = StartMessage | MetricsMessage | FinishMessage
_TYPES: dict[str, Any] = {kind.__name__: kind for kind in (StartMessage, MetricsMessage, FinishMessage)}


def to_line(message: Message) -> str:
    """The message as one line of JSON."""
    return json.dumps({"type": type(message).__name__, **vars(message)})


def from_line(line: str) -> Message:
    """The message of a line that to_line made."""
    content = json.loads(line)
    message: Message = _TYPES[content.pop("type")](**content)
    return message


@dataclass(frozen=True)
class RunLink:
    """A tracker's way back to the run.

    Attributes:
        say: writes a line to the run's log.
        remember: stores a text under a key for a resumed run.
    """

    say: Callable[[str], None]
    remember: Callable[[str, str], None]


class Tracker(Protocol):
    """Receives a run's metrics and files. An exception removes the tracker; the run goes on."""

    def __init__(self, start: StartMessage, run: RunLink) -> None: ...

    def log(self, metrics: MetricsMessage) -> None: ...

    def finish(self, end: FinishMessage) -> None: ...


@dataclass(frozen=True)
class TrackerSpec:
    """An entry of TRACKERS.

    Attributes:
        tracker: the class; it must be importable by its module's name, since trackers run in a process of their own.
        install: what `pip install` needs where the class raises ImportError; may be empty.
        enabled: whether a run with these hyperparameters and this job uses it; by default every run does.
        settings: JSON-able texts for StartMessage.settings.

    Raises:
        ThoraxError: the class is local to a function or lies in the script that was started (__main__).
    """

    tracker: type[Tracker]
    install: str = ""
    enabled: Callable[[TrainingConfig, Job], bool] = lambda config, job: True
    settings: Callable[[TrainingConfig, Job], Mapping[str, str]] = lambda config, job: {}

    def __post_init__(self) -> None:
        if self.tracker.__module__ == "__main__" or "<locals>" in self.tracker.__qualname__:
            raise ThoraxError(
                f"tracker class {self.path} cannot be imported by another process; define it at the top of a module of"
                " its own and import it from there"
            )

    @property
    def path(self) -> str:
        """module:Class."""
        return f"{self.tracker.__module__}:{self.tracker.__qualname__}"
