"""The rows of a comparison's tables: a cell for each run and each baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from thorax.errors import ThoraxError
from thorax.evaluation.baselines import TITLES
from thorax.evaluation.formatting import UNDEFINED, number
from thorax.evaluation.metric_table import METRICS
from thorax.scoring.compared.comparing import RunComparison
from thorax.scoring.compared.sources import RunSource
from thorax.text import counted

#: Metrics of decisions below the rows of the labels; precision is PPV, recall is sensitivity.
DECIDED = ("balanced_accuracy", "ppv", "sensitivity", "specificity", "f1")
NAMES = {"ppv": "Precision (PPV)", "sensitivity": "Recall (sensitivity)"}


@dataclass(frozen=True)
class Cell:
    """One number of a run: its text, and where there is one its interval."""

    text: str
    span: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        title: what it is.
        cells: by run.
        baseline: by baseline; empty: it has none.
        mean: whether it is a mean over the rows above.
        metric: a name in METRICS, or accuracy; "" of other facts.
    """

    title: str
    cells: Mapping[str, Cell]
    baseline: Mapping[str, Cell]
    mean: bool = False
    metric: str = ""


@dataclass(frozen=True)
class Section:
    """Rows with a heading."""

    title: str
    rows: list[Row]
    key: str


def sections(comparison: RunComparison, metric: str = "auc") -> list[Section]:
    """All tables, those without a row left out.

    Raises:
        ThoraxError: no such metric.
    """
    if metric not in METRICS:
        raise ThoraxError(f"--metric {metric} is unknown; choose one of {', '.join(METRICS)}")
    several = len(comparison.labels.outputs) > 1
    found = [
        Section(metric_title(metric), _labels(comparison, metric, several), "labels"),
        Section(f"AUC minus that of {comparison.names[0]}", _differences(comparison, several), "differences"),
        Section("Decisions", _decisions(comparison, several), "decisions"),
        Section("Training", _training(comparison), "training"),
    ]
    return [section for section in found if section.rows]


def metric_title(metric: str) -> str:
    """The metric's name for people."""
    return NAMES.get(metric) or METRICS[metric].title


def heading(comparison: RunComparison) -> str:
    """What is compared: "1,200 images of 410 patients that all 4 runs have"."""
    matched = comparison.matched
    images = f"{counted(len(matched.ids), 'image')} of {counted(len(set(matched.patients)), 'patient')}"
    whose = {1: "", 2: " that both runs have"}.get(len(comparison.names))
    return images + (f" that all {len(comparison.names)} runs have" if whose is None else whose)


def measured(entry: Mapping[str, Any] | None, signed: bool = False) -> Cell:
    """The cell of {"value", "low", "high"}."""
    if entry is None or entry["value"] is None:
        return Cell(UNDEFINED)
    shown: Callable[[float], str] = (lambda v: f"{v:+.3f}") if signed else (lambda v: f"{v:.3f}")
    low, high = entry["low"], entry["high"]
    span = f"[{shown(low)}, {shown(high)}]" if low is not None and high is not None else ""
    return Cell(shown(entry["value"]), span, entry["value"], low, high)


def _labels(comparison: RunComparison, metric: str, several: bool) -> list[Row]:
    rows = []
    for label in comparison.labels.outputs:
        cells = {run: measured(scores["labels"][label].get(metric)) for run, scores in comparison.scores.items()}
        rows.append(Row(label, cells, _beside(comparison, partial(_of_label, label, metric)), metric=metric))
    if several:
        cells = {run: measured(scores["macro"].get(metric)) for run, scores in comparison.scores.items()}
        rows.append(Row("Mean", cells, _beside(comparison, partial(_of_mean, metric)), True, metric))
    return rows


def _differences(comparison: RunComparison, several: bool) -> list[Row]:
    if not comparison.differences:
        return []

    def row(title: str, part: Callable[[Mapping[str, Any]], Mapping[str, Any]], mean: bool = False) -> Row:
        entries = {run: part(found) for run, found in comparison.differences.items()}
        cells = {run: measured({**entry, "value": entry["difference"]}, True) for run, entry in entries.items()}
        return Row(title, cells, {}, mean, "difference")

    rows = [row(label, partial(_difference_of, label)) for label in comparison.labels.outputs]
    if several:
        rows.append(row("Mean", lambda found: found["macro"], True))
    p = {run: found["macro"]["p"] for run, found in comparison.differences.items()}
    cells = {run: Cell(number(value), value=value) for run, value in p.items()}
    return [*rows, Row("p of the mean" if several else "p", cells, {}, True)]


def _decisions(comparison: RunComparison, several: bool) -> list[Row]:
    cells = {run: measured(scores["accuracy"]) for run, scores in comparison.scores.items()}
    rows = [Row("Accuracy", cells, _beside(comparison, lambda b: b["accuracy"]), metric="accuracy")]
    for metric in DECIDED:
        cells = {run: measured(scores["macro"].get(metric)) for run, scores in comparison.scores.items()}
        title = metric_title(metric) + (", mean" if several else "")
        rows.append(Row(title, cells, _beside(comparison, partial(_of_mean, metric)), metric=metric))
    return rows


def _of_label(label: str, metric: str, baseline: Mapping[str, Any]) -> float | None:
    value: float | None = baseline["labels"][label].get(metric)
    return value


def _of_mean(metric: str, baseline: Mapping[str, Any]) -> float | None:
    value: float | None = baseline["macro"].get(metric)
    return value


def _difference_of(label: str, found: Mapping[str, Any]) -> Mapping[str, Any]:
    entry: Mapping[str, Any] = found["labels"][label]
    return entry


def _beside(comparison: RunComparison, part: Callable[[Mapping[str, Any]], float | None]) -> dict[str, Cell]:
    values = {which: part(found) for which, found in comparison.baselines.items()}
    return {which: Cell(number(value), value=value) for which, value in values.items()}


def _training(comparison: RunComparison) -> list[Row]:
    """What each run took; rows that no run knows are left out."""
    first = comparison.sources[0].training
    known: dict[str, Callable[[RunSource], Cell | None]] = {
        "Network": lambda s: _text(s.training.get("network")),
        "Image": lambda s: _text(s.training.get("image")),
        "Precision": lambda s: _text(s.training.get("precision")),
        "Machines": lambda s: _text(s.training.get("machines")),
        "Epochs": lambda s: _number(s.training.get("epochs"), "{:.0f}"),
        "Training minutes": lambda s: _number(s.training.get("seconds"), "{:.2f}", 1 / 60),
        "Seconds an image, training": lambda s: _seconds(s.training.get("seconds_per_image")),
        "Speed-up, training": lambda s: _ratio(first.get("seconds_per_image"), s.training.get("seconds_per_image")),
        "Seconds an image, scored here": lambda s: _seconds(comparison.scoring.get(s.name)),
        "Cost in dollars": lambda s: _number(s.training.get("cost"), "{:,.2f}"),
    }
    rows = []
    for title, cell in known.items():
        cells = {source.name: cell(source) for source in comparison.sources}
        if any(found is not None for found in cells.values()):
            rows.append(Row(title, {run: found or Cell(UNDEFINED) for run, found in cells.items()}, {}))
    return rows


def _text(value: Any) -> Cell | None:
    return Cell(str(value)) if value else None


def _number(value: Any, form: str, factor: float = 1.0) -> Cell | None:
    return None if value is None else Cell(form.format(value * factor), value=value * factor)


def _seconds(value: float | None) -> Cell | None:
    if value is None:
        return None
    return Cell(f"{value:.2f}" if value >= 1 else f"{value:.4f}", value=value)


def _ratio(first: float | None, own: float | None) -> Cell | None:
    return None if not first or not own else Cell(f"{first / own:.2f}x", value=first / own)


def baseline_titles() -> dict[str, str]:
    """Names of the columns of the baselines."""
    return {which: title.removesuffix(" answer") for which, title in TITLES.items()}
