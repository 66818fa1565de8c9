"""Trains a classifier in a job: command line -> thorax.run.

Starts plainly, under SageMaker's toolkit, or under SDK v3's drivers.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from types import FrameType

from thorax.command_line import names_alone, read_command_line, read_model_dir, show_help
from thorax.config import TrainingConfig
from thorax.config.validate import check_machine
from thorax.errors import ThoraxError
from thorax.job import Job, in_container, resolve_secrets
from thorax.machine import may_have_gpu
from thorax.secrets import mask
from thorax.shown import protect_streams


def main(argv: list[str]) -> int:
    """Exit code 0: trained, or stopped by SIGTERM with a checkpoint; 130: stopped by Ctrl-C; 1: a mistake of the
    user or a limit of the machine, written as one line.
    """
    if show_help(argv):
        return 0
    job = Job.from_environment(read_model_dir(argv))
    try:
        if job.process.local_rank == 0:
            job.clear_failure()
        resolve_secrets()
        paths, hyperparameters = read_command_line(argv, in_container=in_container())
        job = Job.from_environment(paths)
        config = TrainingConfig.parse(hyperparameters)
        check_machine(
            config,
            device="cuda" if may_have_gpu() else "cpu",
            processes=job.process.world_size,
            processes_here=job.process.local_world_size,
        )
        for name in names_alone(argv) if job.process.is_main else ():
            print(f"warning: --{name} has no value and is left at its default")
    except ThoraxError as error:
        if job.process.local_rank:
            time.sleep(30)  # local rank 0 finds the same mistake and reports it; then torchrun ends this process
        job.fail(str(error))
        return 1
    from thorax.run import run_job  # slow: imports torch

    try:
        return 130 if run_job(job, config).stop_reason == "SIGINT" else 0
    except ThoraxError as error:
        job.fail(str(error))
        return 1


def end_early(number: int, frame: FrameType | None) -> None:
    """Ctrl-C before `Stop` listens: nothing has begun, so nothing is lost."""
    os.write(2, b"stopped by Ctrl-C before training began\n")
    os._exit(130)  # an exception would be lost, or become another one, where it meets the import of a library


if __name__ == "__main__":
    signal.signal(signal.SIGINT, end_early)
    protect_streams()
    # Whole lines, also under python -u: the toolkit relays what it gets, piece by piece.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        print("stopped at once by a second Ctrl-C; the same command goes on from the last checkpoint", file=sys.stderr)
        code = 130
    except Exception:
        print(mask(traceback.format_exc()), file=sys.stderr)
        code = 1
    if joined := sys.modules.get("thorax.training.distributed"):
        joined.end(code)
    sys.exit(code)
