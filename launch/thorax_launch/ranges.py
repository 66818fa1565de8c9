"""What a search tries: a range per hyperparameter, a strategy, limits. The `tune:` part of a recipe."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thorax.config import TrainingConfig
from thorax.config.parse import canonical, spellings
from thorax.errors import ThoraxError
from thorax_launch.hyperparameters import checked, meaning, overridden, text
from thorax_launch.options import is_number

STRATEGIES = ("bayesian", "random", "hyperband", "grid")
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Range:
    """The values that one hyperparameter may take.

    Attributes:
        kind: continuous, integer, categorical, or auto: AWS's Autotune chooses the range around a hint.
        low: smallest value of a continuous or integer range.
        high: largest.
        log: tried evenly over orders of magnitude.
        choices: texts of a categorical range; of an automatic one the hint alone.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, stored: Any, origin: str) -> Range:
        """`{min: 0.0001, max: 0.1, scale: log}`, `{choices: [32, 64]}` or `{auto: 0.001}`; whole numbers only where the
        hyperparameter has them.

        Raises:
            ThoraxError: anything else.
        """
        form = "{min: 0.0001, max: 0.1, scale: log} or {choices: [32, 64, 128]} (with autotune also {auto: 0.001})"
        expected = f"{origin}: tune.ranges.{name} must be {form}"
        if not isinstance(stored, dict):
            raise ThoraxError(expected)
        if set(stored) == {"auto"}:
            return cls("auto", choices=(text(name, stored["auto"]),))
        if "choices" in stored:
            choices = stored["choices"]
            if set(stored) != {"choices"} or not isinstance(choices, list) or len(choices) < 2:
                raise ThoraxError(f"{expected}; choices need two or more values and nothing beside them")
            return cls("categorical", choices=tuple(text(name, one) for one in choices))
        scale = stored.get("scale", "linear")
        if not {"min", "max"} <= set(stored) <= {"min", "max", "scale"} or scale not in ("linear", "log"):
            raise ThoraxError(f"{expected}; scale is linear or log")
        low, high = stored["min"], stored["max"]
        for end in (low, high):
            if isinstance(end, bool) or not isinstance(end, int | float):
                raise ThoraxError(f"{expected}; {end!r} is not a number")
        if not low < high:
            raise ThoraxError(f"{origin}: tune.ranges.{name}: min={low} is not below max={high}")
        log = scale == "log"
        if log and low <= 0:
            raise ThoraxError(f"{origin}: tune.ranges.{name}: scale=log needs min above 0, not {low}")
        whole = _is_whole(name)
        if whole and not (isinstance(low, int) and isinstance(high, int)):
            raise ThoraxError(f"{origin}: tune.ranges.{name}: min={low}, max={high} must be whole numbers")
        return cls("integer" if whole else "continuous", float(low), float(high), log)

    @property
    def ends(self) -> tuple[str, ...]:
        """Texts of the outermost values, or of all choices."""
        return self.choices or (self.write(self.low), self.write(self.high))

    def write(self, value: float) -> str:
        """A value as the trainer takes it: fixed-point."""
        return str(round(value)) if self.kind == "integer" else text("", float(value))


@dataclass(frozen=True)
class Tune:
    """A search.

    Attributes:
        ranges: hyperparameter -> what to try.
        strategy: bayesian, random, hyperband or grid (choices only).
        max_jobs: jobs in all.
        parallel_jobs: jobs at once, on AWS.
        early_stopping: stop jobs that do worse than the median of the others.
        seed: of the search.
        total_hours: the search ends after so long; 0: never for that.
        target: it ends when the objective reaches this; None: never for that.
        not_improving: it ends after so many jobs in a row that made the best not better by 1 %; 0: never for that.
        until_converged: on AWS, it ends when AWS finds that it has converged.
        autotune: on AWS, AWS chooses what is not set: ranges by a hint (`{auto: 0.001}`), early stopping, retries.
    """

    ranges: Mapping[str, Range]
    strategy: str = "bayesian"
    max_jobs: int = 10
    parallel_jobs: int = 2
    early_stopping: bool = False
    seed: int = 0
    total_hours: float = 0.0
    target: float | None = None
    not_improving: int = 0
    until_converged: bool = False
    autotune: bool = False

    @classmethod
    def of(cls, stored: Any, origin: str, hyperparameters: Mapping[str, str]) -> Tune:
        """The `tune:` mapping of a recipe with those hyperparameters.

        Raises:
            ThoraxError: an unknown key, a wrong range, or an end of a range that the trainer would refuse.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        if not isinstance(stored, dict) or not isinstance(stored.get("ranges"), dict) or not stored["ranges"]:
            raise ThoraxError(
                f"{origin}: tune must be a mapping with ranges, such as tune: {{ranges: {{batch_size: {{choices: [32,"
                " 64]}}}"
            )
        if unknown := [key for key in stored if key not in known]:
            raise ThoraxError(f"{origin}: tune has an unknown key {unknown[0]}; it takes {', '.join(known)}")
        ranges = {
            name: Range.of(name, one, origin)
            for key, one in stored["ranges"].items()
            if (name := str(key).replace("-", "_"))
        }
        return cls(**{**stored, "ranges": ranges}).checked(origin, hyperparameters)

    def with_changes(self, **changes: Any) -> Tune:
        """This search with other limits or another strategy; None keeps the recipe's."""
        return dataclasses.replace(self, **{name: value for name, value in changes.items() if value is not None})

    def checked(self, origin: str, hyperparameters: Mapping[str, str]) -> Tune:
        """Itself.

        Raises:
            ThoraxError: what AWS, Optuna or the trainer would refuse.
        """
        if self.strategy not in STRATEGIES:
            raise ThoraxError(f"{origin}: strategy={self.strategy} is not one of {', '.join(STRATEGIES)}")
        for name in ("max_jobs", "parallel_jobs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ThoraxError(f"{origin}: {name}={value} must be a whole number above 0")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed <= LARGEST_SEED:
            raise ThoraxError(f"{origin}: seed={self.seed} of tune must be a whole number from 0 to {LARGEST_SEED}")
        for name in ("early_stopping", "until_converged", "autotune"):
            if not isinstance(getattr(self, name), bool):
                raise ThoraxError(f"{origin}: {name}={getattr(self, name)} of tune must be true or false")
        self._check_end(origin, hyperparameters)
        if len(self.ranges) > 30:
            raise ThoraxError(f"{origin}: {len(self.ranges)} ranges are more than the 30 that AWS takes")
        other = [name for name, values in self.ranges.items() if values.kind != "categorical"]
        if self.strategy == "grid" and other:
            has = "{auto: ...}" if self.ranges[other[0]].kind == "auto" else "min and max"
            raise ThoraxError(f"{origin}: strategy=grid takes choices only, but {other[0]} has {has}")
        hinted = [name for name, values in self.ranges.items() if values.kind == "auto"]
        if hinted and not self.autotune:
            raise ThoraxError(
                f"{origin}: tune.ranges.{hinted[0]} is {{auto: ...}}, which is for autotune (autotune: true, or"
                " --autotune); give it min and max, or choices"
            )
        if self.strategy == "hyperband" and self.early_stopping:
            raise ThoraxError(f"{origin}: strategy=hyperband stops jobs itself; leave early_stopping out")
        for name, one in self.ranges.items():
            for end in one.ends:
                TrainingConfig.parse(overridden(hyperparameters, checked([(name, end)], f"{origin}: tune.ranges")))
        if len({meaning(name) for name in self.ranges}) < len(self.ranges):
            raise ThoraxError(f"{origin}: tune.ranges has two spellings of one hyperparameter")
        return self

    def _check_end(self, origin: str, hyperparameters: Mapping[str, str]) -> None:
        """Raises ThoraxError for an end that the search could never come to, or that means nothing."""
        if not is_number(self.total_hours, whole=False) or not 0 <= self.total_hours < math.inf:
            raise ThoraxError(
                f"{origin}: total_hours={self.total_hours} of tune must be a number of hours, 0 for no limit"
            )
        if not is_number(self.not_improving, whole=True) or self.not_improving < 0:
            raise ThoraxError(f"{origin}: not_improving={self.not_improving} of tune must be a whole number of jobs")
        if self.target is None:
            return
        objective = TrainingConfig.parse(dict(hyperparameters)).objective
        highest = math.inf if objective == "loss" else 1.0
        if not is_number(self.target, whole=False) or not 0 <= self.target <= highest:
            span = "0 or above" if objective == "loss" else "0 to 1"
            raise ThoraxError(f"{origin}: target={self.target} of tune must be a value of {objective}, {span}")

    @property
    def total(self) -> int:
        """Jobs in all: a grid's combinations, where they are fewer than max_jobs."""
        if self.strategy != "grid":
            return self.max_jobs
        return min(self.max_jobs, math.prod(len(values.choices) for values in self.ranges.values()))

    def static(self, hyperparameters: Mapping[str, str]) -> dict[str, str]:
        """The hyperparameters that stay the same: those without a range."""
        ranged = {meaning(name) for name in self.ranges}
        return {name: value for name, value in hyperparameters.items() if meaning(name) not in ranged}


def _is_whole(name: str) -> bool:
    """Whether a hyperparameter is an integer."""
    field = spellings().get(canonical(name))
    return field is not None and str(field[0].type).startswith("int")
