"""A search on this machine: the recipe's ranges as local jobs under Optuna, one after the other, resumable.

Everything is in runs/NAME: study.db (SQLite), and a job's folder per trial.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from thorax.config import TrainingConfig
from thorax.config.pretrained import check_weights_given
from thorax.errors import ThoraxError
from thorax_launch import paths
from thorax_launch.invocation import command
from thorax_launch.local.channels import Paths, channels_of, check_channels
from thorax_launch.local.completion import end_reason, remaining_seconds
from thorax_launch.local.display import Display
from thorax_launch.local.job_directory import JobDirectory
from thorax_launch.local.jobs import PROGRAM
from thorax_launch.local.study import TrialLog, storage_url, study_leaderboard, study_of, suggest
from thorax_launch.local.toolkit import INTERRUPTED, Toolkit, failure_reason, next_line
from thorax_launch.names import LONGEST, dated
from thorax_launch.ranges import Tune
from thorax_launch.recipe import Recipe
from thorax_launch.trials import Leaderboard, Trial

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class SearchPlan:
    """What every job of a search shares.

    Attributes:
        recipe: its name.
        search: ranges, strategy, limits.
        static: hyperparameters that stay the same.
        channels: name -> folder.
        processes: that train one job together.
        source_dir: code to run.
    """

    recipe: str
    search: Tune
    static: Mapping[str, str]
    channels: Mapping[str, Path]
    processes: int
    source_dir: Path


class LocalSearch:
    """A search in a folder of its own, in the background; a `with` block stops it at its end.

    Attributes:
        name: of the search, and of its folder.
        folder: study.db and the jobs' folders.
        out_of_time: whether its time ended while a job ran, which stays unfinished.
    """

    def __init__(self, folder: Path, study: optuna.Study, plan: SearchPlan, lock: int) -> None:
        self.folder, self.name = folder, folder.name
        self._study, self._plan, self._lock = study, plan, lock
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._job: Toolkit | None = None
        self._directory: JobDirectory | None = None
        self._stopped = self.out_of_time = False
        self._error: BaseException | None = None
        self._thread.start()

    def __repr__(self) -> str:
        return f"<LocalSearch {self.name}, {self.done} of {self.total} jobs done, in {self.folder}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.running:
            self.stop()
            self.wait(quiet=True)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def total(self) -> int:
        """Jobs in all."""
        return self._plan.search.total

    @property
    def done(self) -> int:
        """Jobs that came to an end: completed, stopped early or failed."""
        return sum(
            trial.state.is_finished() and not trial.user_attrs.get("taken_up")
            for trial in self._study.get_trials(deepcopy=False)
        )

    def wait(self, *, quiet: bool = False) -> int:
        """Waits for the end, and prints a line per epoch as it comes unless `quiet`.

        Returns:
            0, or 130 where it was stopped.

        Raises:
            ThoraxError: a job could not be started.
        """
        with Display(self._progress, self._job_name) if not quiet else nullcontext() as display:
            while (line := next_line(self._lines)) is not None:
                if display is not None:
                    display.show(line)
        self._lines.put(None)  # for the next caller
        self._thread.join()  # its last line is out: it is ending
        if self._error:
            raise self._error
        return INTERRUPTED if self._stopped else 0

    def stop(self) -> None:
        """Stops the search and returns at once: its job saves a checkpoint; `tune` with the same job_name goes on."""
        self._stopped = True
        if self._job:
            self._job.stop()

    def kill(self) -> None:
        """Ends the search at once; what its job did after the last checkpoint is lost."""
        self._stopped = True
        if self._job:
            self._job.kill()

    def leaderboard(self) -> Leaderboard:
        """The jobs so far; `.ranked` has the best first, `.print()` shows them."""
        return study_leaderboard(self._study, self.folder)

    @property
    def best(self) -> Trial | None:
        """The best job so far: its name, value and parameters; None where no job has a value."""
        return self.leaderboard().best

    def bundle(self, trial: Trial) -> Path:
        """The folder of a job's bundle."""
        return self.folder / trial.name / "model"

    def _progress(self) -> Path | None:
        """Where the job that runs keeps its progress."""
        return self._directory.progress if self._directory else None

    def _job_name(self) -> str:
        return f"{self._directory.base.name}:" if self._directory else ""

    def _run(self) -> None:
        try:
            _resume(self._study)
            while not self._stopped and self.done < self.total and not (why := self._end_reason()):
                self._run_trial()
            if not self._stopped and self.done < self.total:
                self._lines.put(f"the search ends: {why}; {self._how_to_go_on()}")
        except BaseException as error:  # raised again by `wait`
            self._error = error
        finally:
            os.close(self._lock)
            self._lines.put(None)

    def _end_reason(self) -> str:
        values = [
            trial.value for trial in study_leaderboard(self._study).trials if trial.ended and trial.value is not None
        ]
        maximize = self._study.direction.name == "MAXIMIZE"
        return end_reason(self._plan.search, values, maximize, self._hours)

    def _how_to_go_on(self) -> str:
        unfinished = "its unfinished job goes on from its checkpoint with" if self.out_of_time else "it goes on with"
        return f"{unfinished} the same command and another limit"

    @property
    def _hours(self) -> float:
        """That its jobs have taken, in all the times that it ran."""
        return float(self._study.user_attrs.get("seconds", 0.0)) / 3600

    @contextmanager
    def _limit(self) -> Iterator[None]:
        """Stops the job that runs in it when the search's time is over."""
        left = remaining_seconds(self._plan.search, self._hours)
        timer = threading.Timer(left, self._time_is_up) if left is not None else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            if timer:
                timer.cancel()

    def _time_is_up(self) -> None:
        self.out_of_time = True
        if self._job:
            self._job.stop()

    def _run_trial(self) -> None:
        """One job. Where it was stopped it stays unfinished in the study, and the next run of the search resumes it."""
        from optuna.trial import TrialState

        plan, trial = self._plan, self._study.ask()
        parameters = suggest(trial, plan.search)
        job = JobDirectory(self.folder / trial.user_attrs.get("job", f"trial-{trial.number:03d}"))
        name = job.base.name
        trial.set_user_attr("job", name)
        trial.set_user_attr("parameters", parameters)
        self._lines.put(f"{name}: " + ", ".join(f"{key}={value}" for key, value in parameters.items()))
        job.lay_out(
            {**plan.static, **parameters},
            plan.channels,
            source_dir=plan.source_dir,
            program=PROGRAM,
            processes=plan.processes,
        )
        job.recipe.write_text(f"{plan.recipe}\n", encoding="utf-8")
        self._directory = job
        began, log = time.monotonic(), TrialLog(trial, self._study.user_attrs["key"])
        self._job = Toolkit(job, PROGRAM)
        if self._stopped:
            self._job.stop()
        self._job.start()
        with self._limit():
            for line in self._job.lines():
                if shown := log.read(line):
                    self._lines.put(f"{name}: {shown}")
                if log.pruned and not self._job.stopped:
                    self._job.stop()
            code = self._job.wait()
        self._study.set_user_attr("seconds", self._hours * 3600 + time.monotonic() - began)
        if self._stopped or (self.out_of_time and code):
            job.failure.unlink(missing_ok=True)
            return
        trial.set_user_attr("seconds", time.monotonic() - began)
        if log.pruned:
            self._study.tell(trial, state=TrialState.PRUNED)
            self._lines.put(f"{name}: stopped early")
        elif code or job.failure.exists() or log.value is None:
            self._study.tell(trial, state=TrialState.FAIL)
            self._lines.put(f"{name}: failed: {failure_reason(job)}")
        else:
            trial.set_user_attr("metrics", log.metrics)
            self._study.tell(trial, log.value)
        shutil.rmtree(job.checkpoints, ignore_errors=True)  # the bundle stays; checkpoints are several times its size


def tune(
    recipe: Recipe | str,
    channels: Paths | None = None,
    *,
    hyperparameters: Mapping[str, object] | None = None,
    runs: str | Path = "runs",
    job_name: str | None = None,
    processes: int = 1,
    **changes: Any,
) -> LocalSearch:
    """Starts a search on this machine: the ranges of the recipe's `tune:` part, one job after the other, under Optuna.

    A search of that name which was stopped or killed goes on: its unfinished job from its checkpoint.

        >>> from thorax_launch import local
        >>> with local.tune("pneumonia-resnet18", {"train": "images/train"}, max_jobs=4) as search:
        ...     search.wait()
        ...     search.leaderboard().print()
        ...     search.bundle(search.best)

    Args:
        recipe: what to train, or its name; it has a `tune:` part.
        channels: as for `train`.
        hyperparameters: name -> value, put over the recipe's; none that is searched.
        runs: folder of all local jobs.
        job_name: of the search; default: the recipe's name and the time.
        processes: that train one job together.
        changes: max_jobs, strategy, early_stopping, seed, total_hours, target or not_improving, in place of the
            recipe's.

    Returns:
        The search, running.

    Raises:
        ThoraxError: wrong input, or a search of that name is running already.
        ModuleNotFoundError: Optuna is not installed.
    """
    argument, root = str(recipe) if isinstance(recipe, str) else recipe.name, Path(runs)
    recipe = Recipe.load(recipe) if isinstance(recipe, str) else recipe
    search, static = recipe.search(changes, hyperparameters or {})
    check_weights_given(TrainingConfig.parse(static), channels or {})
    _check_ranges(search)
    folder = _folder(root, job_name or f"{dated(recipe.name, LONGEST - len('-tuning'))}-tuning")
    given = {name: Path(path) for name, path in (channels or {}).items()}
    check_channels(given)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ThoraxError(f"--runs: {error.filename or folder} cannot be written: {error.strerror}") from None
    lock = _lock(folder)
    try:
        plan = SearchPlan(recipe.name, search, static, channels_of(recipe, root, given), processes, paths.source_dir())
        shared = {**static, **{f"--{channel}": str(path.resolve()) for channel, path in plan.channels.items()}}
        study = study_of(storage_url(folder), folder.name, search, TrainingConfig.parse(dict(static)), shared)
        changed = {key: value for key, value in static.items() if recipe.hyperparameters.get(key) != value}
        study.set_user_attr("command", [*shlex.split(command("train")), argument, "--local", *_flags(given, changed)])
        return LocalSearch(folder, study, plan, lock)
    except BaseException:
        os.close(lock)
        raise


def _check_ranges(search: Tune) -> None:
    """Raises ThoraxError for a range that only AWS's Autotune chooses; says what else is AWS's alone."""
    if hinted := [name for name, values in search.ranges.items() if values.kind == "auto"]:
        raise ThoraxError(
            f"tune.ranges.{hinted[0]} is {{auto: ...}}, which AWS's Autotune chooses: for --local give min and max, or"
            " choices"
        )
    if alone := [name for name in ("until_converged", "autotune") if getattr(search, name)]:
        print(f"note: {' and '.join(alone)} of the recipe's tune: part are AWS's; this search goes without", flush=True)


def _folder(runs: Path, name: str) -> Path:
    """runs/name: a search's, or not there yet.

    Raises:
        ThoraxError: something else is there.
    """
    folder = runs.absolute() / name
    if (folder / "study.db").is_file():
        return folder
    job = JobDirectory.named(runs, name)
    if job.exists:
        raise ThoraxError(f"--job-name {name}: that is a training job's folder; choose another name")
    return job.base


def _lock(folder: Path) -> int:
    """A lock on the search's folder, which goes with the process, however that ends.

    Raises:
        ThoraxError: another process has it.
    """
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        message = f"search {folder.name} is running already; wait for it or choose another --job-name"
        raise ThoraxError(message) from None
    return held


def _flags(channels: Mapping[str, Path], hyperparameters: Mapping[str, str]) -> list[str]:
    """The words of a command line with these channels and hyperparameters."""
    words = []
    for channel, path in channels.items():
        known = channel in ("train", "validation", "test", "weights", "model")
        words += [f"--{channel}", str(path)] if known else ["--channel", f"{channel}={path}"]
    return words + [word for key, value in hyperparameters.items() for word in ("--set", f"{key}={value}")]


def _resume(study: optuna.Study) -> None:
    """Jobs that a kill left running start again with the same values in the same folder, so from their checkpoints."""
    import optuna

    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        optuna.Trial(study, trial._trial_id).set_user_attr("taken_up", True)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={"job": trial.user_attrs.get("job", f"trial-{trial.number:03d}")})
