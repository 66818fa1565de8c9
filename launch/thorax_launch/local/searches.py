"""A search on this machine: the recipe's ranges as local jobs under Optuna, one after the other, resumable.

Everything is in runs/NAME: study.db (SQLite), a job's folder per trial, leaderboard.csv and leaderboard.png.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax_launch.local.job_directory import JobDirectory, check_channels
from thorax_launch.local.toolkit import INTERRUPTED, Toolkit, last_words
from thorax_launch.local.training import PROGRAM, relative, synthetic
from thorax_launch.local.trial import Listener, storage_url, study_leaderboard, study_of, suggest
from thorax_launch.paths import SOURCE_DIR
from thorax_launch.ranges import Tune
from thorax_launch.recipe import Recipe

if TYPE_CHECKING:
    import optuna


def tune(
    recipe: Recipe,
    search: Tune,
    static: Mapping[str, str],
    *,
    runs: Path,
    name: str,
    channels: Mapping[str, Path] | None = None,
    processes: int = 1,
    recipe_argument: str = "",
    plot: Path | None = None,
    source_dir: Path = SOURCE_DIR,
) -> int:
    """Runs the search until `search.total` jobs are done, and shows the leaderboard.

    A search of that name which was stopped or killed goes on: its unfinished job from its checkpoint.

    Args:
        recipe: what to train.
        search: ranges, strategy, limits.
        static: hyperparameters that stay the same.
        runs: folder of all local jobs.
        name: of the search.
        channels: as for a training job.
        processes: that train one job together.
        recipe_argument: how the user named the recipe, for the best command.
        plot: PNG; default runs/NAME/leaderboard.png.

    Returns:
        0, or `INTERRUPTED`.

    Raises:
        ThoraxError: wrong input, Optuna is not installed, or every job failed.
    """
    folder = _folder(runs, name)
    given = dict(channels or {})
    check_channels(given)
    picture = plot or folder / "leaderboard.png"
    if plot and (plot.is_dir() or not (plot.absolute().parent.is_dir() or plot.absolute().parent == folder)):
        raise ThoraxError(
            f"--plot {plot} cannot be written:"
            f" {'it is a folder' if plot.is_dir() else f'there is no folder {plot.parent}'}; name a file"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ThoraxError(f"--runs: {error.filename or folder} cannot be written: {error.strerror}") from None
    with _alone(folder, name):
        channels = given if "train" in given else {**given, **synthetic(recipe, runs, given)}
        config = TrainingConfig.parse(dict(static))
        study = study_of(
            storage_url(folder),
            name,
            search,
            config,
            {**static, **{f"--{channel}": str(path.resolve()) for channel, path in channels.items()}},
        )
        words = ["python", "launch/train.py", recipe_argument or recipe.name, "--local"]
        words += [word for channel, path in given.items() for word in _flag(channel, path)]
        words += [
            word
            for key, value in static.items()
            if recipe.hyperparameters.get(key) != value
            for word in ("--set", f"{key}={value}")
        ]
        study.set_user_attr("command", words)
        _take_up(study)
        code = 0
        while code == 0 and _done(study) < search.total:
            code = _run_trial(study, search, static, channels, folder, processes, source_dir)
    board = study_leaderboard(study)
    board.print()
    board.write_csv(folder / "leaderboard.csv")
    board.write_plot(picture)
    print(f"table    {relative(folder / 'leaderboard.csv')}")
    if picture.exists():
        print(f"plot     {relative(picture)}")
    if code == INTERRUPTED:
        print(
            f"search {name} is stopped after {_done(study)} of {search.total} jobs; to go on: the same command with"
            f" --job-name {name}"
        )
    elif board.best is None:
        raise ThoraxError(
            f"none of the {len(board.trials)} jobs came to a value; see {relative(folder)}/*/output/train.log"
        )
    return code


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


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Holds a lock on the search's folder, which goes with the process, however that ends.

    Raises:
        ThoraxError: another process has it.
    """
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ThoraxError(f"search {name} is running already; wait for it or choose another --job-name") from None
        yield
    finally:
        os.close(held)


def _flag(channel: str, path: Path) -> list[str]:
    known = ("train", "validation", "test", "weights", "model")
    return [f"--{channel}", str(path)] if channel in known else ["--channel", f"{channel}={path}"]


def _take_up(study: optuna.Study) -> None:
    """Jobs that a kill left running are begun again with the same values in the same folder, so from their checkpoints."""
    import optuna

    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        optuna.Trial(study, trial._trial_id).set_user_attr("taken_up", True)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={"job": trial.user_attrs.get("job", f"trial-{trial.number:03d}")})


def _done(study: optuna.Study) -> int:
    """Jobs that came to an end: completed, stopped early or failed."""
    return sum(
        trial.state.is_finished() and not trial.user_attrs.get("taken_up") for trial in study.get_trials(deepcopy=False)
    )


def _run_trial(
    study: optuna.Study,
    search: Tune,
    static: Mapping[str, str],
    channels: Mapping[str, Path],
    folder: Path,
    processes: int,
    source_dir: Path,
) -> int:
    """One job, told to the study.

    0, or `INTERRUPTED`; then the job stays unfinished and is taken up by the next run.
    """
    from optuna.trial import TrialState

    trial = study.ask()
    parameters = suggest(trial, search)
    job = JobDirectory(folder / trial.user_attrs.get("job", f"trial-{trial.number:03d}"))
    trial.set_user_attr("job", job.base.name)
    trial.set_user_attr("parameters", parameters)
    print(f"{job.base.name}: " + ", ".join(f"{key}={value}" for key, value in parameters.items()), flush=True)
    job.lay_out({**static, **parameters}, channels, source_dir=source_dir, program=PROGRAM, processes=processes)
    began = time.monotonic()
    listener = Listener(trial, job.base.name, study.user_attrs["key"])
    toolkit = Toolkit(job, PROGRAM, hear=listener.hear)
    listener.stop = toolkit.end_script
    code = toolkit.run()
    if code == INTERRUPTED:
        job.failure.unlink(missing_ok=True)
        return INTERRUPTED
    trial.set_user_attr("seconds", time.monotonic() - began)
    if listener.pruned:
        study.tell(trial, state=TrialState.PRUNED)
        print(f"{job.base.name}: stopped early", flush=True)
    elif code or job.failure.exists() or listener.value is None:
        study.tell(trial, state=TrialState.FAIL)
        print(f"{job.base.name}: failed: {last_words(job)}", flush=True)
    else:
        study.tell(trial, listener.value)
    shutil.rmtree(job.checkpoints, ignore_errors=True)  # the bundle stays; checkpoints are several times its size
    return 0
