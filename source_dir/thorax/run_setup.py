"""The first stage of a run: everything that can be refused is refused here, before an hour is spent."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from thorax import models
from thorax.config import TrainingConfig, config_differences
from thorax.config.pretrained import check_weights_given
from thorax.config.reference import shown
from thorax.config.validate import check_machine
from thorax.job import Job
from thorax.optimize.quantization import check_installed
from thorax.serving.bundle_writer import check_folder
from thorax.text import counted
from thorax.tracking import metric_log
from thorax.tracking.progress import say
from thorax.training.inputs import Hardware
from thorax.training.precision import candidates
from thorax.training.stopping import Stop


@dataclass(frozen=True)
class RunContext:
    """What every stage of a run works with.

    Attributes:
        weights: the file that the network starts from, if any.
        started: time.monotonic() at the run's start.
        readable: whether lines are for a person at a terminal or in a notebook, and not for a log that is read by
            regexes.
        compute: why the precision, layout and threads of `hardware` are what they are; empty until they are settled.
    """

    job: Job
    config: TrainingConfig
    hardware: Hardware
    stop: Stop
    weights: Path | None
    started: float
    readable: bool = False
    compute: str = ""

    def say(self, text: str) -> None:
        """Logs a line, in the main process."""
        shown = metric_log.readable(text) if self.readable else text
        if self.job.process.is_main and shown is not None:
            say(shown)


def prepare(job: Job, config: TrainingConfig, device: torch.device, readable: bool) -> RunContext:
    """Checks machine, folders and weights, before an hour is spent; answers signals; sets threads and the seed.

    Raises:
        ThoraxError: the machine cannot run this configuration, or a folder or file is missing or cannot be written.
    """
    started, process = time.monotonic(), job.process
    check_machine(config, device=device.type, processes=process.world_size, processes_here=process.local_world_size)
    models.check(config.network, config.channels, *config.image_size)
    candidates(config.precision_dtype, device)  # raises for what the device lacks
    if config.optimize:
        check_installed("optimize=true")
    job.channel("train")
    if (weights := find_weights(job, config)) is not None:
        models.check_weights(weights, config.network, config.channels, config.dropout)
    stop = Stop().listen()
    job.prepare()
    check_folder(job.model_dir)
    workers, threads = workers_and_threads(config, job, device)
    hardware = Hardware(device, workers=workers, threads=threads, process=process)
    torch.set_num_threads(hardware.threads)
    torch.manual_seed(config.seed)
    run = RunContext(job, config, hardware, stop, weights, started, readable)
    log_configuration(run)
    run.say(
        f"machine: {counted(process.world_size, 'process', 'processes')} on {counted(len(job.hosts), 'host')},"
        f" {device.type}, {counted(threads, 'thread')}, {counted(workers, 'reading worker')}, torch {torch.__version__}"
    )
    return run


def find_weights(job: Job, config: TrainingConfig) -> Path | None:
    """The file to start from: the hyperparameter's, then the channel `weights`, then the channel `model`."""
    channel = job.channels.get("weights") or job.channels.get("model")
    given = Path(config.weights) if config.weights else channel
    check_weights_given(config, job.channels)
    return models.find_weights(given) if given is not None else None


def workers_and_threads(config: TrainingConfig, job: Job, device: torch.device) -> tuple[int, int]:
    """Reading workers and threads for arithmetic of each process, from the CPUs that this job may use."""
    share = max(1, job.cpus // job.process.local_world_size)
    workers = min(16, max(1, share - 1)) if device.type == "cuda" else max(1, min(4, share // 4))
    return workers if config.num_workers is None else config.num_workers, config.threads or share


def log_configuration(run: RunContext) -> None:
    """The configuration as one JSON line, or as a table of what differs from the defaults; then its warnings."""
    if run.readable:
        rows = [(name, shown(value), shown(default)) for name, value, default in config_differences(run.config)]
        width = max((len(name) for name, _, _ in rows), default=0)
        run.say("configuration: " + ("as the defaults" if not rows else "differs from the defaults in"))
        for name, value, default in rows:
            run.say(f"  {name:{width}}  {value}  (default: {default})")
    else:
        run.say(f"configuration: {json.dumps(run.config.to_dict())}")
    for warning in run.config.warnings:
        run.say(f"warning: {warning}")
