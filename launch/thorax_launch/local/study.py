"""One search as an Optuna study: its values, the metrics that a job's log reports to it, the leaderboard."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.tracking.metric_log import METRICS, objective_key, read
from thorax_launch.paths import relative
from thorax_launch.ranges import Range, Tune
from thorax_launch.trials import Leaderboard, Trial

if TYPE_CHECKING:
    import optuna

_EPOCH = re.compile(r"^epoch (\d+)/\d+: ")
_BEST = re.compile(r"^best epoch \d+/\d+: ")
_STATES = {
    "COMPLETE": "Completed",
    "PRUNED": "Stopped",
    "FAIL": "Failed",
    "RUNNING": "InProgress",
    "WAITING": "Waiting",
}


def storage_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def study_of(url: str, name: str, search: Tune, config: TrainingConfig, constant: Mapping[str, str]) -> optuna.Study:
    """The study of that name, made where there is none.

    Args:
        constant: what all its jobs have alike: hyperparameters and channels.

    Raises:
        ThoraxError: the study was made with another strategy, other ranges, hyperparameters or channels, or its file is
            damaged.
        ModuleNotFoundError: Optuna is not installed.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    key = objective_key(config.objective)
    with _stored(url):
        study = optuna.create_study(
            storage=url,
            study_name=name,
            load_if_exists=True,
            pruner=_pruner(search, config.epochs),
            direction="minimize" if config.objective == "loss" else "maximize",
        )
        # A seed that moves on: else a search that is resumed would begin with what it has tried.
        study.sampler = _sampler(search, search.seed + len(study.get_trials(deepcopy=False)))
        ranges = {range_name: f"{' to '.join(one.ends)}{' log' * one.log}" for range_name, one in search.ranges.items()}
        now = {"strategy": search.strategy, **constant, **ranges}
        before = study.user_attrs.get("made_of", now)
        if differ := [what for what in {**before, **now} if before.get(what) != now.get(what)]:
            shown = ", ".join(
                f"{what} {before.get(what, 'not given')} (now {now.get(what, 'not given')})" for what in differ[:4]
            )
            raise ThoraxError(
                f"--job-name {name}: that search has {shown}; give the same again, or choose another name"
            )
        study.set_user_attr("made_of", now)
        if search.strategy == "grid":
            for values in itertools.product(*(one.choices for one in search.ranges.values())):
                study.enqueue_trial(dict(zip(search.ranges, values, strict=True)), skip_if_exists=True)
        study.set_user_attr("key", key)
        return study


@contextmanager
def _stored(url: str) -> Iterator[None]:
    """Turns what optuna and sqlalchemy raise about the file of a study into a line."""
    try:
        yield
    except ThoraxError:
        raise
    except Exception as error:
        file = url.removeprefix("sqlite:///")
        why = " ".join(str(error).split())[:200]
        raise ThoraxError(f"{file} cannot be read: {why}; choose another --job-name, or remove its folder") from None


def load(folder: Path, name: str) -> optuna.Study:
    """The study of a search on this machine.

    Raises:
        ThoraxError: there is none.
    """
    if not (folder / "study.db").is_file():
        raise ThoraxError(f"no search {name} on this machine: {folder / 'study.db'} does not exist")
    import optuna

    try:
        return optuna.load_study(study_name=name, storage=storage_url(folder))
    except Exception as error:  # sqlalchemy's and optuna's: whatever is wrong with the file
        raise ThoraxError(f"{folder / 'study.db'} cannot be read: {' '.join(str(error).split())[:200]}") from None


def suggest(trial: optuna.Trial, search: Tune) -> dict[str, str]:
    """The values to try, name -> text."""
    return {name: _suggest(trial, name, one) for name, one in search.ranges.items()}


def _suggest(trial: optuna.Trial, name: str, one: Range) -> str:
    if one.kind == "categorical":
        return str(trial.suggest_categorical(name, one.choices))
    if one.kind == "integer":
        return one.write(trial.suggest_int(name, round(one.low), round(one.high), log=one.log))
    return one.write(float(f"{trial.suggest_float(name, one.low, one.high, log=one.log):.6g}"))


class TrialLog:
    """Reads a job's log: reports each epoch's value to the study.

    Attributes:
        value: of the objective in the last line, which is the best epoch's; None before that.
        metrics: SageMaker's name -> value, of that line.
        pruned: whether the study has asked to stop the job early.
    """

    def __init__(self, trial: optuna.Trial, key: str) -> None:
        self._trial, self._key = trial, key
        self.value: float | None = None
        self.metrics: dict[str, float] = {}
        self.pruned = False

    def read(self, line: str) -> str | None:
        """Takes a line of the log; returns one to show where it is an epoch's."""
        found = read(line)
        value = found.get(self._key)
        if value is None or self.pruned:
            return None
        if _BEST.match(line):
            self.value, self.metrics = value, {METRICS[key]: number for key, number in found.items()}
        elif epoch := _EPOCH.match(line):
            self._trial.report(value, int(epoch[1]))
            self.pruned = bool(self._trial.should_prune())
            return f"epoch {epoch[1]}: {METRICS[self._key]} {value:.4f}"
        return None


def study_leaderboard(study: optuna.Study, folder: Path | None = None) -> Leaderboard:
    """The jobs of a study; those that were resumed under a later number are left out.

    Args:
        folder: of the search, which holds the jobs' bundles.
    """
    key = study.user_attrs["key"]
    found = []
    for trial in study.get_trials(deepcopy=False):
        if trial.user_attrs.get("taken_up") or "parameters" not in trial.user_attrs:
            continue
        value: Any = trial.value
        if value is None and trial.intermediate_values:  # stopped or running: its best so far
            pick = max if study.direction.name == "MAXIMIZE" else min
            value = pick(trial.intermediate_values.values())
        found.append(
            Trial(
                trial.user_attrs["job"],
                _STATES[trial.state.name],
                value,
                trial.user_attrs["parameters"],
                trial.datetime_start,
                trial.user_attrs.get("seconds"),
                trial.user_attrs.get("metrics", {}),
            )
        )
    return Leaderboard(
        study.study_name,
        METRICS[key],
        study.direction.name == "MAXIMIZE",
        tuple(found),
        tuple(study.user_attrs.get("command", ())),
        bundles=relative(folder) if folder else "",
    )


def _sampler(search: Tune, seed: int) -> Any:
    from optuna import samplers

    if search.strategy in ("random", "grid"):
        return samplers.RandomSampler(seed=seed)
    return samplers.TPESampler(seed=seed)


def _pruner(search: Tune, epochs: int) -> Any:
    from optuna import pruners

    if search.strategy == "hyperband":
        return pruners.HyperbandPruner(min_resource=1, max_resource=max(2, epochs))
    return pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1) if search.early_stopping else pruners.NopPruner()
