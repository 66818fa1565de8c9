"""The table of metrics. One entry is all that a metric needs: scores, intervals, tables and report read it from here.

A metric of your own is one call, before anything is scored:

    METRICS.register("f2", decision("F2", lambda c: ratio(5 * c.tp, 5 * c.tp + 4 * c.fn + c.fp)))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from thorax.evaluation.arrays import Array, mean_defined, ratio
from thorax.evaluation.binning import calibration_error, gaps
from thorax.evaluation.entries import Counts, Entries, Resamples
from thorax.labels import Task
from thorax.registry import Registry

#: What a metric looks at: the order of images, the probabilities themselves, or the decisions at the threshold.
Kind = Literal["ranking", "probability", "decision"]
Row = Literal["label", "macro"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        title: its name for people, the heading of its column.
        kind: decisions have a table of their own in the report.
        point: its value over the known entries of one label, or of all labels pooled; NaN where undefined.
        resampled: the same in R resamples of patients: (R,), NaN where undefined.
        rows: of several labels, the rows that show it: each label, the means over all labels, or both.
        table_order: where its column is in the printed table (lower is further left); None is nowhere.
        in_report: whether the report's tables show it.
        by_group: whether subgroups have it.
        centred: whether resamples are moved so that their mean is the value. Resampling adds the noise of a second
            sample, which raises a calibration error by itself and would put the value below its own interval.
    """

    title: str
    kind: Kind
    point: Callable[[Entries], Any]
    resampled: Callable[[Resamples], Array]
    rows: tuple[Row, ...] = ("label", "macro")
    table_order: int | None = 100
    in_report: bool = True
    by_group: bool = False
    centred: bool = False


#: Name -> metric, in the order of metrics.json.
METRICS: Registry[Metric] = Registry("metric")


def decision(title: str, formula: Callable[[Counts], Array], **shown: Any) -> Metric:
    """A metric of decisions.

    Args:
        title: as in Metric.
        formula: from confusion counts of any one shape; NaN where undefined (see `ratio`).
        shown: other fields of Metric.
    """
    return Metric(title, "decision", lambda entries: formula(entries.counts), lambda r: formula(r.counts), **shown)


def sensitivity(c: Counts) -> Array:
    """The share of positives that are called positive; NaN without positives."""
    return ratio(c.tp, c.tp + c.fn)


def specificity(c: Counts) -> Array:
    """The share of negatives that are called negative; NaN without negatives."""
    return ratio(c.tn, c.tn + c.fp)


def f1(c: Counts) -> Array:
    """The harmonic mean of PPV and sensitivity; NaN without positives, true or predicted."""
    return ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn)


def balanced_accuracy(c: Counts) -> Array:
    """The mean of sensitivity and specificity; NaN without positives or without negatives.

    Of one of several exclusive classes that is the class against the rest; over all classes see `macro_means`.
    """
    return (sensitivity(c) + specificity(c)) / 2


def macro_means(values: Mapping[str, Array], task: Task) -> dict[str, Array]:
    """{metric: (...)} means over the labels where a metric is defined, from {metric: (..., L)}.

    The balanced accuracy of exclusive classes is the mean of their recalls, as scikit-learn's balanced_accuracy_score
    has it, and not the mean of each class against the rest: with three classes chance is 1/3 and not 1/2.
    """
    means = {metric: mean_defined(of_labels) for metric, of_labels in values.items()}
    if task == "multiclass":
        means["balanced_accuracy"] = means["sensitivity"]
    return means


def _brier(entries: Entries) -> float:
    from sklearn.metrics import brier_score_loss

    return brier_score_loss(entries.positive, entries.probability) if len(entries.positive) else np.nan


def _calibration_error(entries: Entries) -> Array:
    n = len(entries.positive)
    gap = gaps(entries.positive[:, None], entries.probability[:, None], np.zeros(n, np.int64), 1)[0, 0]
    return calibration_error(gap, np.asarray(n))


for _name, _metric in {
    "auc": Metric(
        "AUC", "ranking", lambda entries: entries.ranking.point[0], lambda r: r.areas[0], table_order=0, by_group=True
    ),
    "average_precision": Metric(
        "Average precision", "ranking", lambda entries: entries.ranking.point[1], lambda r: r.areas[1], table_order=None
    ),
    "sensitivity": decision("Sensitivity", sensitivity, table_order=2, by_group=True),
    "specificity": decision("Specificity", specificity, table_order=3, by_group=True),
    "ppv": decision("PPV", lambda c: ratio(c.tp, c.tp + c.fp), table_order=None),
    "npv": decision("NPV", lambda c: ratio(c.tn, c.tn + c.fn), table_order=None),
    "f1": decision("F1", f1, table_order=1),
    "balanced_accuracy": decision("Balanced accuracy", balanced_accuracy, table_order=None, by_group=True),
    "accuracy": decision("Accuracy", lambda c: ratio(c.tp + c.tn, c.known), table_order=None, in_report=False),
    "brier": Metric(
        "Brier score", "probability", _brier, lambda r: ratio(r.squared_error, r.counts.known), table_order=None
    ),
    "ece": Metric(
        "Calibration error",
        "probability",
        _calibration_error,
        lambda r: calibration_error(r.gaps, r.counts.known),
        table_order=None,
        centred=True,
    ),
}.items():
    METRICS.register(_name, _metric)
