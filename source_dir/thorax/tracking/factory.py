"""Who watches a run, as the hyperparameters and the environment ask. Imported only where somebody does."""

from __future__ import annotations

from collections.abc import Callable

from thorax.job import Job
from thorax.tracking.observers import Observer, Observers


def watch(
    job: Job,
    say: Callable[[str], None],
    *,
    wandb: str,
    tensorboard: bool,
    debugging: bool,
    debug_save_interval: int | None,
    weighted: bool,
    profiler: bool,
    profiler_schedule: tuple[int, ...],
    configuration: dict[str, object],
) -> Observer:
    """The observer of this process. Trackers and profiler watch the main process, the debugger every one.

    Args:
        say: takes lines (of the main process).
        weighted: the run weighs rare classes up.
        configuration: all hyperparameters, for trackers; the other arguments are hyperparameters of those names.
    """
    members: list[Observer] = []
    main = job.process.is_main
    if debugging:
        from thorax.tracking.health.monitor import Debugger

        members.append(Debugger(job, debug_save_interval, weighted, say))
    if profiler:
        from thorax.tracking.profiler.system import SystemSamples

        folder = job.output_dir / "profiler"
        if main:
            from thorax.tracking.profiler.steps import Profiler

            members.append(Profiler(folder, profiler_schedule, configuration, say))
        if job.process.local_rank == 0:
            members.append(SystemSamples(folder, job.host, say))
    trackers: dict[str, dict[str, str]] = {}
    if wandb != "false":
        trackers["W&B"] = {"mode": wandb, "project": job.wandb_project}
    if tensorboard:
        trackers["TensorBoard"] = {"folder": str(job.tensorboard_dir.absolute())}
    if job.mlflow_uri:
        trackers["MLflow"] = {"uri": job.mlflow_uri, "experiment": job.mlflow_experiment}
    if trackers and main:
        from thorax.tracking.trackers.relay import Relay

        members.append(Relay(job, configuration, trackers, say))
    return Observers(members, say)
