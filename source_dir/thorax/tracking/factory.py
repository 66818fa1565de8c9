"""Builds the observers that the hyperparameters and the job's environment ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from thorax.config import TrainingConfig
from thorax.job import Job
from thorax.tracking.health.monitor import HealthMonitor
from thorax.tracking.observers import Observer, Observers, one_line
from thorax.tracking.profiler.steps import Profiler
from thorax.tracking.profiler.system import SystemSamples
from thorax.tracking.trackers import TRACKERS
from thorax.tracking.trackers.relay import Relay


def build_observer(
    config: TrainingConfig, job: Job, device: Any, workers: int, say: Callable[[str], None]
) -> Observer | None:
    """The observer of this process; None where nothing observes it.

    The health monitor runs in every process, system samples once a machine, trackers and profiler in the main process.

    Args:
        device: the torch.device of this process.
        workers: processes that read images.
        say: takes log lines (of the main process).
    """
    members: list[Observer] = []
    process, folder = job.process, job.output_dir / "profiler"
    if config.debugging:
        members.append(HealthMonitor(config, job, say))
    if config.profiler and process.is_main:
        members.append(Profiler(folder, config, device, workers, say))
    if config.profiler and process.local_rank == 0:
        members.append(SystemSamples(folder, job.host, say))
    if process.is_main and (trackers := _enabled_trackers(config, job, say)):
        members.append(Relay(config, job, trackers, say))
    return Observers(members, say) if members else None


def _enabled_trackers(config: TrainingConfig, job: Job, say: Callable[[str], None]) -> dict[str, Mapping[str, str]]:
    """Settings of each registered tracker that this run has on; one whose predicate raises is off, with a warning."""
    settings = {}
    for name in TRACKERS:
        try:
            if TRACKERS[name].enabled(config, job):
                settings[name] = TRACKERS[name].settings(config, job)
        except Exception as error:
            say(f"warning: {name} failed ({one_line(error)}); the run goes on without it")
    return settings
