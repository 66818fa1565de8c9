"""The jobs of a search, best first: as a table, a CSV and a plot. The same for AWS and for this machine."""

from __future__ import annotations

import csv
import io
import math
import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax.shown import cell, trusted
from thorax.text import counted
from thorax.tracking.metric_log import METRICS, number

#: Values that range over this factor are drawn and weighed by their logarithm.
FAR = 50
#: Panels side by side in the plot, and the look of the best job's point.
ACROSS = 3
_BEST: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 10, "markerfacecolor": "none"} | {
    "markeredgecolor": "C3",
    "markeredgewidth": 1.8,
}


@dataclass(frozen=True)
class Trial:
    """One job of a search.

    Attributes:
        name: of the job.
        status: Completed, Stopped (early), Failed, InProgress ...
        value: of the objective at the best epoch; None where there is none yet.
        parameters: what was tried, name -> text.
        began: when.
        seconds: how long it trained.
        metrics: SageMaker's name of a metric -> its value at the best epoch, as far as they are known.
    """

    name: str
    status: str
    value: float | None
    parameters: Mapping[str, str]
    began: datetime | None = None
    seconds: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether its value counts: it completed, or was stopped early."""
        return self.status in ("Completed", "Stopped")


@dataclass(frozen=True)
class Leaderboard:
    """A search's jobs in the order in which they began.

    Attributes:
        name: of the search.
        objective: SageMaker's metric name, such as validation:auc.
        maximize: whether more is better.
        trials: the jobs.
        command: words that train the recipe, without the best values; empty where not known.
        record: words that train a job's own record once more, without its name; take the place of `command`.
        shown: further metrics that are shown, by SageMaker's name.
        bundles: the folder that holds the jobs' folders; empty where they are not on this machine.
    """

    name: str
    objective: str
    maximize: bool
    trials: tuple[Trial, ...]
    command: tuple[str, ...] = ()
    record: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    bundles: str = ""

    def importance(self) -> dict[str, float]:
        """Hyperparameter -> how much of the objective's variance over the jobs it explains, the most important first;
        they sum to 1. Empty below 8 jobs with a value, where it would be chance.

        That of a random forest over the jobs (Breiman, "Random forests", 2001: mean decrease in impurity), on the
        logarithm of parameters that range over a factor of 50 and more.
        """
        valued = [trial for trial in self.trials if trial.value is not None]
        names = [name for name in self.parameters if len({t.parameters.get(name) for t in valued}) > 1]
        if len(valued) < 8 or not names or len({t.value for t in valued}) < 2:
            return {}
        from sklearn.ensemble import RandomForestRegressor

        columns = [_column([trial.parameters.get(name, "") for trial in valued]) for name in names]
        forest = RandomForestRegressor(200, random_state=0, min_samples_leaf=2)
        forest.fit(list(zip(*columns, strict=True)), [trial.value for trial in valued])
        found = sorted(zip(names, forest.feature_importances_.tolist(), strict=True), key=lambda pair: -pair[1])
        return dict(found)

    @property
    def ranked(self) -> list[Trial]:
        """Best first; those without a value last, in the order in which they began."""
        sign = -1.0 if self.maximize else 1.0
        return sorted(self.trials, key=lambda trial: (trial.value is None, sign * (trial.value or 0.0)))

    @property
    def best(self) -> Trial | None:
        done = (t for t in self.ranked if t.value is not None and t.ended)
        return next(done, None)

    @property
    def parameters(self) -> list[str]:
        """Names of all that was tried."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.parameters))

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """(head, a row per job, best first) as texts."""
        head = ["rank", "job", "status", self.objective, *self.shown, *self.parameters, "began", "minutes"]
        rows = []
        for rank, trial in enumerate(self.ranked, 1):
            value = "" if trial.value is None else number(trial.value)
            began = f"{trial.began:%Y-%m-%d %H:%M:%S}" if trial.began else ""
            minutes = "" if trial.seconds is None else f"{trial.seconds / 60:.1f}"
            tried = [trial.parameters.get(name, "") for name in self.parameters]
            more = [number(trial.metrics[name]) if name in trial.metrics else "" for name in self.shown]
            rows.append([str(rank), trial.name, trial.status, value, *more, *tried, began, minutes])
        return head, rows

    def print(self) -> None:
        """The table, then the best job and the command that trains it once more.

        On a narrow terminal columns are left out that the CSV has (began, minutes, status), and where that is not
        enough each job has lines of its own; no word is broken.
        """
        from rich.console import Console

        done = sum(trial.ended for trial in self.trials)
        console = Console(file=trusted(sys.stdout), markup=False, highlight=False)
        if not console.is_terminal:  # a pipe or a file: as wide as the table needs
            console = Console(file=trusted(sys.stdout), markup=False, highlight=False, width=240)
        console.print(f"{self.name}: {counted(len(self.trials), 'job')}, {done} done", soft_wrap=True)
        for left_out in ((), ("began",), ("began", "minutes"), ("began", "minutes", "status")):
            table = self._table(left_out)
            if wide(console, table) <= console.width:
                console.print(table)
                break
        else:
            self._print_blocks(console)
        if self.best:
            print(f"best: {self.best.name}, {self.objective} {number(self.best.value or 0.0)}")
            if self.bundles:
                print(f"its bundle: {self.bundles}/{self.best.name}/model")
            if found := self.importance():
                print("importance: " + ", ".join(f"{name} {share:.0%}" for name, share in found.items()))
            if self.command or self.record:
                print(f"to train it again: {self.best_command()}")

    def _table(self, left_out: Sequence[str]) -> Any:
        from rich.table import Table

        head, rows = self.rows()
        shown = [k for k, name in enumerate(head) if name not in left_out]
        table = Table()
        for k in shown:
            left = head[k] in ("job", "status", "began")
            table.add_column(head[k], justify="left" if left else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(row[k] for k in shown))
        return table

    def _print_blocks(self, console: Any) -> None:
        """A block for each job: rank, name and value, then its parameters, as many to a line as fit."""
        head, rows = self.rows()
        for row in rows:
            values = dict(zip(head, row, strict=True))
            console.print(f"{values['rank']}. {values['job']}  {values[self.objective] or values['status']}")
            tried = [f"{name}={values[name]}" for name in self.parameters]
            for line in textwrap.wrap("  ".join(tried), max(20, console.width - 3), break_long_words=False):
                console.print(f"   {line}")

    def best_command(self) -> str:
        """The command line that trains the best once more: by its own record, or the recipe with its values.

        Raises:
            ValueError: no job has a value yet.
        """
        if self.best is None:
            raise ValueError("no job has a value yet")
        if self.record:
            return shlex.join([*self.record, self.best.name])
        changes = [word for name, value in self.best.parameters.items() for word in ("--set", f"{name}={value}")]
        return shlex.join([*self.command, *changes])

    def write_csv(self, file: Path) -> None:
        """The table as a CSV, whole or not at all."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        head, rows = self.rows()
        writer.writerows(map(cell, row) for row in (head, *rows))
        write_whole(text.getvalue().encode(), file, "leaderboard")

    def write_plot(self, file: Path) -> bool:
        """The objective job after job, and against each hyperparameter, as a PNG.

        Returns:
            Whether it was written: not where no job has a value.
        """
        from matplotlib.figure import Figure  # not pyplot, which would change a notebook's backend
        from matplotlib.ticker import MaxNLocator

        valued = [(i, trial, trial.value) for i, trial in enumerate(self.trials, 1) if trial.value is not None]
        if not valued:
            return False
        names, values = self.parameters, [value for _, _, value in valued]
        across = min(ACROSS, 1 + len(names))
        rows = -(-(1 + len(names)) // across)
        figure = Figure(figsize=(4.2 * across, 3.4 * rows + 0.3), layout="constrained")
        grid = figure.subplots(rows, across, sharey=True, squeeze=False)
        first, *others = grid.flat
        pick = max if self.maximize else min
        best = values.index(pick(values))
        first.plot([i for i, _, _ in valued], values, "o", label="job")
        so_far = [pick(values[: k + 1]) for k in range(len(values))]
        first.step([i for i, _, _ in valued], so_far, where="post", label="best so far")
        first.plot(valued[best][0], values[best], **_BEST, label="best")
        first.set(xlabel="job, in the order in which they began")
        first.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for axis, name in zip(others, names, strict=False):
            _draw(axis, name, [trial.parameters.get(name, "") for _, trial, _ in valued], values, best)
        for axis in others[len(names) :]:
            axis.set_axis_off()
        for axis in grid[:, 0]:
            axis.set_ylabel(self.objective)
        figure.legend(*first.get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
        figure.suptitle(self.name, x=0.01, ha="left")
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=110)
        write_whole(picture.getvalue(), file, "plot")
        return True


def metric_names(text: str) -> tuple[str, ...]:
    """SageMaker's names of the metrics that --metrics f1,loss names; also validation:f1 and validation_f1.

    Raises:
        ThoraxError: an unknown one.
    """
    found = []
    for word in filter(None, text.split(",")):
        known = [name for key, name in METRICS.items() if word in (key, name, name.removeprefix("validation:"))]
        if not known:
            short = ", ".join(name.removeprefix("validation:") for name in METRICS.values())
            raise ThoraxError(f"--metrics {word}: it must be one of {short}")
        found += known
    return tuple(dict.fromkeys(found))


def wide(console: Any, table: Any) -> int:
    """Columns that a rich table takes where nothing is cut."""
    return int(console.measure(table, options=console.options.update(max_width=10_000)).maximum)


def _draw(axis: Any, name: str, texts: list[str], values: list[float], best: int) -> None:
    """The objective against one hyperparameter; names in their order, long ones slanted."""
    from matplotlib.ticker import MaxNLocator

    numbers = _numbers(texts)
    kinds = sorted(set(texts))
    places = numbers or [float(kinds.index(text)) for text in texts]
    axis.plot(places, values, "o")
    axis.plot(places[best], values[best], **_BEST)
    if numbers and min(numbers) > 0 and max(numbers) / min(numbers) >= FAR:
        axis.set_xscale("log")
    elif numbers and len(set(numbers)) <= 6 and max(map(len, kinds)) <= 5:
        axis.set_xticks(sorted(set(numbers)))
    elif numbers:
        axis.xaxis.set_major_locator(MaxNLocator(5))
    else:
        slanted = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"} if sum(map(len, kinds)) > 32 else {}
        axis.set_xticks(range(len(kinds)), kinds, **slanted)
        axis.set_xlim(-0.5, len(kinds) - 0.5)
    axis.set_xlabel(name)


def _column(texts: list[str]) -> list[float]:
    """Numbers (their logarithms where they range far), or the places of texts in their sorted list."""
    numbers = _numbers(texts)
    if not numbers:
        return [float(sorted(set(texts)).index(text)) for text in texts]
    far = min(numbers) > 0 and max(numbers) / min(numbers) >= FAR
    return [math.log(value) for value in numbers] if far else numbers


def _numbers(texts: list[str]) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError:
        return []
