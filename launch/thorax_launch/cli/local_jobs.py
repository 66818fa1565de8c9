"""A job or a search of this machine on the terminal: its log, and at the end where everything is."""

from __future__ import annotations

import time
from pathlib import Path

from thorax.errors import ThoraxError
from thorax_launch.local.folds import OUT_OF_FOLD, LocalFolds
from thorax_launch.local.jobs import LocalJob
from thorax_launch.local.searches import LocalSearch
from thorax_launch.local.toolkit import INTERRUPTED, show, stopped_by_signals
from thorax_launch.paths import relative

#: The table of all out-of-fold answers.
TABLE = "out_of_fold.csv"


def run_job(job: LocalJob, resume: str) -> int:
    """Shows a job to its end.

    Args:
        resume: the command with which a stopped job goes on.

    Returns:
        0, or 130 where it was stopped.

    Raises:
        ThoraxError: the run failed; the message is its own.
    """
    began = time.time()
    with stopped_by_signals(job):
        show(f"job {job.name} {'goes on' if job.resumed else 'starts'} in {relative(job.directory.base)}")
        code = job.wait()
    if job.failure:
        print(f"log      {relative(job.log)}")
        raise ThoraxError(job.failure)
    if job.status == "Completed":
        print(f"job {job.name} is done in {(time.time() - began) / 60:.1f} min")
        for what, path in job.results().items():
            print(f"{what:8} {relative(path)}")
    else:
        print(f"job {job.name} is stopped; to go on: {resume}")
    return code


def run_folds(found: LocalFolds, again: str) -> int:
    """Shows a cross-validation to its end.

    Args:
        again: the command with which a stopped one goes on.

    Returns:
        0, or 130 where it was stopped.

    Raises:
        ThoraxError: a fold or the refit failed; the message is its own.
    """
    with stopped_by_signals(found):
        code = found.wait(show)
    if code:
        print(f"cross-validation {found.name} is stopped; to go on: {again}")
        return code
    for what, path in (("table", found.folder / OUT_OF_FOLD / TABLE), ("report", found.folder / OUT_OF_FOLD)):
        print(f"{what:8} {relative(path if what == 'table' else path / 'report.html')}")
    if found.refit:
        print(f"{'bundle':8} {relative(found.bundle)}")
    else:
        print(f"{'bundles':8} " + " ".join(relative(path) for path in found.bundles))
    return 0


def run_search(search: LocalSearch, plot: Path | None) -> int:
    """Shows a search to its end, then its leaderboard, which is also written.

    Args:
        plot: PNG; default: leaderboard.png in the search's folder.

    Returns:
        0, or 130 where it was stopped.

    Raises:
        ThoraxError: every job failed, or none came to its end within the search's time.
    """
    with stopped_by_signals(search):
        code = search.wait()
    board, table, picture = (
        search.leaderboard(),
        search.folder / "leaderboard.csv",
        plot or search.folder / "leaderboard.png",
    )
    board.print()
    board.write_csv(table)
    board.write_plot(picture)
    print(f"table    {relative(table)}")
    if picture.exists():
        print(f"plot     {relative(picture)}")
    if code == INTERRUPTED:
        print(
            f"search {search.name} is stopped after {search.done} of {search.total} jobs; to go on: the same command"
            f" with --job-name {search.name}"
        )
    elif board.best is None and search.out_of_time:
        raise ThoraxError(
            f"no job of search {search.name} came to its end within its time; the same command with --job-name"
            f" {search.name} and a larger --total-hours goes on"
        )
    elif board.best is None:
        logs = f"{relative(search.folder)}/*/output/train.log"
        raise ThoraxError(f"none of the {len(board.trials)} jobs has a value; see {logs}")
    return code
