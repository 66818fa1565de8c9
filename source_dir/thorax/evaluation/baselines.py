"""What a score is worth: the same scores of two models that never look at an image.

The majority answer gives every image the more frequent answer of each label (of exclusive classes: the most frequent
class). The random answer draws each answer as often as it is true, without looking; its scores are those of the counts
that are expected. Both know the shares of the images scored, so no model that ignores the images does better than the
majority in accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from thorax.evaluation.arrays import Array
from thorax.evaluation.entries import Counts
from thorax.evaluation.metric_table import METRICS, macro_means
from thorax.labels import LabelSpace

#: The baselines, in the order in which tables show them, and their names for people.
TITLES = {"majority": "majority answer", "random": "random answer"}


def baselines(result: Mapping[str, Any], labels: LabelSpace) -> dict[str, dict[str, Any]]:
    """The scores of the two on the images of a score.

    Args:
        result: of `metrics.score`; only the known and the positive images of its labels are used.
        labels: names and task.

    Returns:
        {"majority" and "random": {"answer": the most frequent class, exclusive classes alone, "accuracy", "macro":
        {metric: value}, "labels": {output: {metric: value}}}}, None for what is undefined, or not known of a metric
        from outside that is none of decisions.
    """
    names = labels.outputs
    known = np.array([result["labels"][name]["n"] for name in names], np.float64)
    positive = np.array([result["labels"][name]["positives"] for name in names], np.float64)
    exclusive = labels.task == "multiclass"
    called = np.arange(len(names)) == positive.argmax() if exclusive else positive * 2 > known
    return {
        "majority": _scores(positive, known, called.astype(np.float64), labels)
        | ({"answer": names[int(positive.argmax())]} if exclusive else {}),
        "random": _scores(positive, known, positive / np.maximum(known, 1), labels),
    }


def _scores(positive: Array, known: Array, called: Array, labels: LabelSpace) -> dict[str, Any]:
    """Scores of a model that calls the share `called` (L,) of the images of each label positive, whatever they are."""
    by_label = [_label(p, n, share) for p, n, share in zip(positive, known, called, strict=True)]
    points = {name: np.array([row[name] for row in by_label], np.float64) for name in METRICS}
    right = positive * called + (known - positive) * (1 - called)
    if labels.task == "multiclass":
        accuracy = (positive * called).sum() / known[0] if known[0] else np.nan
    else:
        accuracy = right.sum() / known.sum() if known.sum() else np.nan
    macro = macro_means(points, labels.task)
    return {
        "accuracy": _defined(accuracy),
        "macro": {name: _defined(value) for name, value in macro.items()},
        "labels": {
            name: {metric: _defined(value) for metric, value in row.items()}
            for name, row in zip(labels.outputs, by_label, strict=True)
        },
    }


def _label(positive: float, known: float, called: float) -> dict[str, float]:
    """Every metric of one label."""
    negative, both = known - positive, 0 < positive < known
    counts = Counts(
        *map(np.asarray, (positive * called, negative * called, negative * (1 - called), positive * (1 - called)))
    )
    wrong = float(counts.fp + counts.fn) / known if known else np.nan
    closed = {
        "auc": 0.5 if both else np.nan,
        "average_precision": positive / known if both else np.nan,
        "brier": wrong,
        "ece": wrong,  # answers of 0 and of 1: a bin of each, whose gap is its share of wrong answers
    }
    entries: Any = SimpleNamespace(counts=counts)
    decided = {name: float(METRICS[name].point(entries)) for name in METRICS if METRICS[name].kind == "decision"}
    return {name: decided.get(name, closed.get(name, np.nan)) for name in METRICS}


def _defined(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def beside(name: str, found: Mapping[str, Mapping[str, Any]], digits: int = 3) -> str:
    """The baselines of one metric in brackets, such as "(majority 0.740, random 0.615)"; "" where there are none.

    Args:
        name: a metric, whose macro means are shown, or accuracy, that over all answers.
        found: what `baselines` returns.
    """
    values = {
        which: scores["accuracy"] if name == "accuracy" else scores["macro"].get(name)
        for which, scores in found.items()
    }
    told = [f"{which} {value:.{digits}f}" for which, value in values.items() if value is not None]
    return f"({', '.join(told)})" if told else ""


def shown_rows(found: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> dict[str, list[float | None]]:
    """{title of a baseline: its macro value of each of these metrics}."""
    return {TITLES[which]: [scores["macro"].get(name) for name in metrics] for which, scores in found.items()}
