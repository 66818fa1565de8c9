"""`thorax deploy --job NAME`: the bundle of a training job, of a search's best job, or of a job on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from thorax.errors import ThoraxError
from thorax.serving.bundle_place import bundle_place
from thorax_launch.cli import flags

if TYPE_CHECKING:
    from thorax_launch.trials import Leaderboard

#: Folder of all jobs on this machine.
RUNS = Path("runs")


def without_job(words: Sequence[str]) -> list[str]:
    """The command line without --job NAME."""
    found, skip = [], False
    for word in words:
        if not skip and word != "--job" and not word.startswith("--job="):
            found.append(word)
        skip = word == "--job" and not skip
    return found


def deploy(args: argparse.Namespace, words: list[str]) -> int:
    """Deploys it, here or on AWS.

    Args:
        args: of `thorax deploy`.
        words: its flags but --job.

    Raises:
        ThoraxError: there is no such job, it has no bundle, or the deployment failed.
    """
    from thorax_launch.cli import deploy as command  # late: it knows this module

    if args.local or args.dry_run:
        here = _here(args.job)
        if here is None:
            more = "" if args.local else ", and with --dry-run AWS is not asked: give the bundle's s3:// address"
            raise ThoraxError(f"--job {args.job}: there is no job of that name in {RUNS} on this machine{more}")
        return command.main([str(here), *words])
    return flags.on_aws(lambda: _on_aws(args, words))


def _on_aws(args: argparse.Namespace, words: list[str]) -> int:
    from thorax_launch.cli import best_endpoint  # late: --help is instant
    from thorax_launch.cli import deploy as command
    from thorax_launch.sagemaker.account import place
    from thorax_launch.sagemaker.finding import find
    from thorax_launch.sagemaker.jobs import TrainingJob
    from thorax_launch.sagemaker.search import TuningJob

    where, here = place(args.profile or "", args.region or "", args.settings), _here(args.job)
    try:
        job = find(args.job, where)
    except ThoraxError as error:
        if here is None or not str(error).startswith("there is no "):
            raise
        print(f"job {args.job} of this machine: {here}", flush=True)
        return command.main([str(here), *words])
    if here is not None:
        print(f"note: {here} on this machine has that name too; {where.region}'s is taken", flush=True)
    if isinstance(job, TuningJob):
        name = _best(job.leaderboard())
        print(f"the best job of {args.job}: {name}", flush=True)
        job = TrainingJob(name, where)
    if not isinstance(job, TrainingJob):
        raise ThoraxError(
            f"--job {args.job} is a {job.kind.words}, which leaves no bundle; name a training job or search"
        )
    return best_endpoint.deploy_job(job.name, where, words)


def _best(board: Leaderboard) -> str:
    """Name of a search's best job. Raises ThoraxError: there is none yet."""
    if board.best is None:
        raise ThoraxError(f"--job {board.name}: no job of that search has come to a value yet")
    return board.best.name


def _here(name: str) -> Path | None:
    """The bundle of a job on this machine, of a search its best job's; None where there is none.

    Raises:
        ThoraxError: the job has not come to its end, or no job of the search has.
    """
    runs, short = flags.job_in(RUNS, name)
    folder = runs / short
    if (folder / "study.db").is_file():
        from thorax_launch.local.study import load, study_leaderboard  # late: --help is instant

        return folder / _best(study_leaderboard(load(folder.absolute(), short), folder.absolute())) / "model"
    if not folder.is_dir():
        return None
    return bundle_place(folder)
