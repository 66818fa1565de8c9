"""Metric names, the log lines that carry them, and the regexes that read them back: in one place.

SageMaker reads metrics from the log by regex and a tuner takes the last value that matched, so the last line of a run
repeats the best epoch's. Numbers are fixed-point: its regexes would read 7e-05 as 7.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

#: Key in a line -> SageMaker's metric name.
METRICS = {
    "train_loss": "train:loss",
    "train_accuracy": "train:accuracy",
    "train_auc": "train:auc",
    "validation_loss": "validation:loss",
    "validation_auc": "validation:auc",
    "validation_f1": "validation:f1",
    "validation_accuracy": "validation:accuracy",
    "validation_balanced_accuracy": "validation:balanced_accuracy",
    "validation_top_k": "validation:top_k",
    "test_auc": "test:auc",
    "test_balanced_accuracy": "test:balanced_accuracy",
    "learning_rate": "train:learning_rate",
    "images_per_second": "train:images_per_second",
    "data_wait": "train:data_wait",
    "epoch_seconds": "train:epoch_seconds",
    "epoch_cost": "train:epoch_cost",
}
_NUMBER = r"(-?[0-9]+\.[0-9]+)"
_EPOCH = re.compile(r"^(?P<best>best )?epoch (?P<epoch>\d+)/(?P<epochs>\d+): (?=\w+=)")

#: What was chosen by measurement, with all that was measured; see training.probe.
_MEASURED = re.compile(r"^(?P<what>precision: [^:]+): (?P<speed>[\d.]+) images/s \(.*\), measured in ")


def regex(key: str) -> str:
    """The regex that reads a metric from any of our lines."""
    return rf"\b{re.escape(key)}={_NUMBER}"


def metric_definitions() -> list[dict[str, str]]:
    """SageMaker's MetricDefinitions: name and regex of every metric."""
    return [{"Name": name, "Regex": regex(key)} for key, name in METRICS.items()]


def objective_key(objective: str) -> str:
    """The key of the tuning objective: auc -> validation_auc."""
    return f"validation_{objective}"


def number(value: float, digits: int = 6) -> str:
    """Fixed-point; never an exponent, also for small numbers."""
    return f"{value:.{digits}f}"


def line(head: str, values: Mapping[str, float]) -> str:
    """`head: key=value; key=value`; values that are not finite (an undefined AUC) are left out.

    Raises:
        KeyError: a key that METRICS does not list.
    """
    texts = []
    for key, value in values.items():
        METRICS[key]
        if math.isfinite(value):
            texts.append(f"{key}={number(value, 9 if key == 'learning_rate' else 6)}")
    return f"{head}: {'; '.join(texts)}"


def epoch_line(
    head: str, row: Mapping[str, float], *, exclusive: bool, seconds: float = 0.0, best: bool = False
) -> str:
    """The line of an epoch's row of the history; at its end stand its seconds, which of its metrics are those of
    decisions at 0.5, and a star where it is the best so far.

    Args:
        exclusive: of exclusive classes the most probable one is decided for, without any cut.
        seconds: of the epoch with its validation; 0: left out.
    """
    notes = [f"{seconds:.1f} s"] * bool(seconds) + ["f1, accuracy, balanced_accuracy at 0.5"] * (not exclusive)
    told = f" ({'; '.join(notes)})" if notes else ""
    return f"{line(head, {key: value for key, value in row.items() if key != 'epoch'})}{told}{' *' * best}"


def readable(text: str) -> str | None:
    """A line of the log as a person reads it: those with metrics and measurements are short, with three digits; None
    where the printed table says the same; any other line as it is."""
    if text.startswith("test: test_"):
        return None
    if measured := _MEASURED.match(text):
        return f"{measured['what']}: the fastest here, {float(measured['speed']):,.0f} images/s"
    if not (found := _EPOCH.match(text)):
        return text
    values, cut = read(text), " at 0.5" if "at 0.5)" in text else ""
    loss = [values[key] for key in ("train_loss", "validation_loss") if key in values]
    words = [f"loss {' / '.join(f'{value:.3f}' for value in loss)}"] if loss else []
    for key, name, note in (("auc", "AUC", ""), ("balanced_accuracy", "bal. acc.", cut)):
        if (value := values.get(f"validation_{key}")) is not None:
            words.append(f"{name} {value:.3f}{note}")
    if (cost := values.get("epoch_cost")) is not None:
        words.append(f"${cost:.2f}" if cost >= 1 else f"${cost:.4f}")
    if seconds := re.search(r"\((\d+\.\d) s\b", text):
        words.append(f"{float(seconds[1]):.{0 if float(seconds[1]) >= 10 else 1}f} s")
    epoch, epochs = found["epoch"], found["epochs"]
    head = f"best: epoch {epoch} of {epochs}" if found["best"] else f"epoch {epoch:>{len(epochs)}}/{epochs}"
    return f"{head}  {'  '.join(words)}{'  *' if text.endswith(' *') else ''}"


def read(text: str) -> dict[str, float]:
    """The last value of every metric in a log, as SageMaker would take it."""
    found = {key: re.findall(regex(key), text) for key in METRICS}
    return {key: float(values[-1]) for key, values in found.items() if values}
