"""Watch what runs on AWS until it ends: a training job with its log, a search, a batch transform, a processing job, or
a pipeline's latest run. Ctrl-C asks whether to stop it.

examples:
    python launch/follow.py pneumonia-resnet18-261121-101500
    python launch/follow.py sweep --kind search
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from thorax_launch.cli import flags
from thorax_launch.invocation import command

if TYPE_CHECKING:
    from thorax_launch.sagemaker.handles import JobHandle

#: Keys of sagemaker.kinds.KINDS, for a help that is instant; a test holds them together.
KINDS = ("training", "search", "transform", "processing", "pipeline")


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 it completed, 3 failed, 4 stopped, 5 out of time, 6 no spot machine, 7 interrupted, 8 another end;
    9 it goes on but AWS cannot be asked; 1 an error; 130 Ctrl-C.
    """
    p = flags.script(__doc__)
    p.add_argument("name", help="of the job, search or pipeline")
    add_kind(p)
    flags.add_place(p)
    args = p.parse_args(arguments)
    return flags.guarded(lambda: flags.on_aws(lambda: watch(found(args))))


def add_kind(p: argparse.ArgumentParser) -> None:
    """--kind, for a name that several things have."""
    p.add_argument("--kind", choices=KINDS, default="", help="which of several things of that name")


def found(args: argparse.Namespace) -> JobHandle:
    """A handle on the job that --kind and the name say.

    Raises:
        ThoraxError: there is none, or several.
    """
    from thorax_launch.sagemaker.account import place  # late: --help is instant
    from thorax_launch.sagemaker.finding import find

    return find(args.name, place(args.profile, args.region), args.kind)


def watch(job: JobHandle) -> int:
    """Shows its state, and its log, until it has completed: 0; 130 after Ctrl-C, which asks whether to stop it.

    Raises:
        JobEndedError: it ended in another way.
        GoesOnError: AWS cannot be asked.
        StoppedError: a signal; the job goes on.
    """
    from thorax_launch.sagemaker.endings import StoppedError, Terminated  # late: --help is instant

    try:
        job.wait()
        return 0
    except KeyboardInterrupt:
        return _interrupted(job)
    except Terminated as error:
        raise StoppedError(_goes_on(job), error) from None


def _interrupted(job: JobHandle) -> int:
    from thorax_launch.cli.aws import confirmed

    print()
    try:
        stop = sys.stdin.isatty() and confirmed(f"stop {job.kind.words} {job.name}? No leaves it running.")
    except (KeyboardInterrupt, EOFError):
        stop = False
    if stop:
        job.stop()
        print(f"{job.kind.words} {job.name} is being stopped; {job.kept}")
    else:
        print(_goes_on(job))
    return 130


def _goes_on(job: JobHandle) -> str:
    watch_it, end_it = f"{command('follow')} {job.name}", f"{command('stop')} {job.name}"
    return f"{job.kind.words} {job.name} goes on; to watch it again: {watch_it}; to stop it: {end_it}{job.then}"
