"""What has been run on this machine: the jobs and searches of a folder, and where a job's report is."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.serving.s3_bundle import is_address
from thorax_launch.invocation import command
from thorax_launch.local.job_directory import SYNTHETIC, JobDirectory
from thorax_launch.local.processes import of_job
from thorax_launch.local.toolkit import failure_reason

#: The date and time at the end of a name that `thorax train` chose.
_DATED = re.compile(r"-\d{6}-\d{6}(-tuning)?$")


@dataclass(frozen=True)
class Run:
    """One job on this machine.

    Attributes:
        name: of the job; of a search's job with the search's, such as sweep/trial-003.
        recipe: that it trains, as far as its folder shows it.
        status: finished, stopped, failed or running.
        began: when it was last started.
        minutes: from then to its end; None: it has none yet.
        auc: on the test images, else on validation; None: there is none.
        part: which of the two.
        bundle: folder of the bundle; None: there is none.
        report: its page; None: there is none.
    """

    name: str
    recipe: str
    status: str
    began: datetime
    minutes: float | None
    auc: float | None
    part: str
    bundle: Path | None
    report: Path | None


def all_runs(runs: Path) -> list[Run]:
    """The jobs in a folder and in its searches, the newest first.

    Raises:
        ThoraxError: there is no such folder.
    """
    if not runs.is_dir():
        raise ThoraxError(f"--runs {runs} is not a folder; jobs are made by `thorax train RECIPE --local`")
    found = []
    for folder in sorted(path for path in runs.iterdir() if path.is_dir() and path.name != SYNTHETIC):
        jobs = [folder, *(sorted(folder.glob("trial-*")) if (folder / "study.db").is_file() else [])]
        found += [_run(runs, JobDirectory(job.absolute())) for job in jobs if JobDirectory(job).exists]
    return sorted(found, key=lambda run: run.began, reverse=True)


def report_of(runs: Path, name: str) -> Path:
    """The page of a job: its report, or of a search its plot.

    Args:
        name: of the job or search below `runs`, or the path of its folder.

    Raises:
        ThoraxError: there is no such job, or it has no report yet.
    """
    if is_address(name) or Path(name).is_file():
        raise ThoraxError(f"{name} is an archive, which has no report; name the job or its folder")
    folder = Path(name) if Path(name).is_dir() else runs / name
    if folder.name == "model":
        folder = folder.parent
    if not folder.is_dir():
        raise ThoraxError(f"there is no job {name} in {runs}; {_hint(runs, name)}")
    for page in (folder / "output" / "data" / "report.html", folder / "leaderboard.png"):
        if page.is_file():
            return page
    raise ThoraxError(f"{folder} has no report: {_why_none(JobDirectory(folder.absolute()))}")


def _hint(runs: Path, name: str) -> str:
    """What may have been meant by the name of no job: jobs of that name in searches, or the nearest."""
    last = Path(name).name
    known = [path.name for path in runs.iterdir() if path.is_dir()] if runs.is_dir() else []
    inside = [f"{search}/{last}" for search in sorted(known) if (runs / search / last / "output").is_dir()]
    if meant := inside or difflib.get_close_matches(last, known, n=1):
        return f"did you mean {' or '.join(meant[:3])}?"
    return f"`{command('runs')}` lists those that are there"


def _why_none(job: JobDirectory) -> str:
    """Why a job has no report, in words."""
    if not job.exists:
        return (
            "no job of the search has come to its end" if (job.base / "study.db").is_file() else "it is no job's folder"
        )
    status = _status(job)
    if status == "failed":
        return f"the job failed: {failure_reason(job)}"
    if status == "running":
        return "the job is running; its report comes at its end"
    return "the job did not come to its end; the command that began it goes on"


def _run(runs: Path, job: JobDirectory) -> Run:
    metrics = _json(job.data / "metrics.json")
    part = "test" if "test" in metrics else "validation"
    value = metrics.get(part, {}).get("macro", {}).get("auc", {})
    began = (job.config / "hyperparameters.json").stat().st_mtime
    report, name = job.data / "report.html", job.base.relative_to(runs.absolute()).as_posix()
    ended = (job.data / "metrics.json").stat().st_mtime if job.finished else None
    return Run(
        name,
        _recipe(job, name),
        _status(job),
        datetime.fromtimestamp(began),
        (ended - began) / 60 if ended and ended > began else None,
        value.get("value") if isinstance(value, dict) else None,
        part if metrics else "",
        job.bundle if job.finished else None,
        report if report.is_file() else None,
    )


def _status(job: JobDirectory) -> str:
    if job.failure.exists():
        return "failed"
    if job.finished:
        return "finished"
    return "running" if of_job(str(job.base)) else "stopped"


def _recipe(job: JobDirectory, name: str) -> str:
    try:
        return job.recipe.read_text(encoding="utf-8").strip()
    except OSError:  # before it was kept
        return _DATED.sub("", name.split("/")[0])


def _json(file: Path) -> Mapping[str, Any]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return stored if isinstance(stored, dict) else {}
