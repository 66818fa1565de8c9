"""95 % bootstrap intervals by patient: patients are drawn with replacement, each with all of their images.

Images of one patient are not independent, so drawing images would give intervals that are too narrow. A resample
is never built: it is a row of counts (how often each patient was drawn), and every metric is computed from counts
as weights, many resamples at a time. The formulas are those of scikit-learn with sample_weight=counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thorax.evaluation.arrays import Array, ratio
from thorax.evaluation.binning import BINS, gaps
from thorax.evaluation.entries import Counts, Entries, Resamples, confusion
from thorax.evaluation.metric_table import METRICS
from thorax.evaluation.ranking import CHUNK_ENTRIES


def resample_counts(patients: int, resamples: int, seed: int, *, at_once: int) -> Iterator[NDArray[np.int32]]:
    """Yields (R, patients) counts, R <= `at_once`, until there were `resamples` rows; each row sums to `patients`.

    The rows depend on `seed` alone, not on `at_once`.
    """
    random = np.random.default_rng(seed)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = random.integers(0, patients, size=(rows, patients))
        drawn += np.arange(rows)[:, None] * patients
        yield np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.int32)


@dataclass(frozen=True)
class Resampled:
    """Metrics in R resamples, NaN where undefined: {metric: (R, L)} of the labels, {metric: (R,)} over all entries
    pooled, and the (R,) overall accuracy."""

    labels: dict[str, Array]
    micro: dict[str, Array]
    overall: Array


def bootstrap(
    targets: Array,
    probabilities: Array,
    decisions: Array,
    answers: Array,
    patients: Array,
    *,
    resamples: int,
    seed: int,
) -> Resampled:
    """Every metric of every label in every resample of patients.

    Args:
        targets: (N, L) in {0, 1, NaN}.
        probabilities: (N, L).
        decisions: (N, L) bool, the answers at the thresholds.
        answers: (N, 2) correct answers and answers counted of each image, for the overall accuracy.
        patients: (N,) patient number of each image, 0..P-1, each in use.
        resamples: how many times to draw P patients.
        seed: the same seed draws the same patients.
    """
    images, labels = targets.shape
    people = int(patients.max()) + 1
    squares = np.where(np.isnan(targets), 0, (targets - probabilities.astype(np.float64)) ** 2)
    entries = np.concatenate([*confusion(targets, decisions), squares, answers], axis=1)
    by_patient = [np.bincount(patients, weights=column, minlength=people)[:, None] for column in entries.T]
    sums = np.concatenate([*by_patient, gaps(targets, probabilities, patients, people).reshape(people, -1)], axis=1)
    columns = [Entries.known(targets[:, i], probabilities[:, i], decisions[:, i], patients) for i in range(labels)]
    pooled = Entries.known(targets, probabilities, decisions, patients)

    found = Resampled(
        {name: np.full((resamples, labels), np.nan) for name in METRICS},
        {name: np.full(resamples, np.nan) for name in METRICS},
        np.full(resamples, np.nan),
    )
    start = 0
    for weights in resample_counts(people, resamples, seed, at_once=max(1, CHUNK_ENTRIES // images)):
        rows = slice(start, start + len(weights))
        start = rows.stop
        totals = weights.astype(np.float64) @ sums
        *counts, squared = (totals[:, i * labels : (i + 1) * labels] for i in range(5))
        gap = totals[:, 5 * labels + 2 :].reshape(len(weights), labels, BINS)
        found.overall[rows] = ratio(totals[:, 5 * labels], totals[:, 5 * labels + 1])
        for i, column in enumerate(columns):
            drawn = Resamples(column, weights, Counts(*(x[:, i] for x in counts)), squared[:, i], gap[:, i])
            for name in METRICS:
                found.labels[name][rows, i] = METRICS[name].resampled(drawn)
        summed = Counts(*(x.sum(axis=1) for x in counts))
        drawn = Resamples(pooled, weights, summed, squared.sum(axis=1), gap.sum(axis=1))
        for name in METRICS:
            found.micro[name][rows] = found.labels[name][rows, 0] if labels == 1 else METRICS[name].resampled(drawn)
    return found


def interval(values: Array) -> tuple[float | None, float | None]:
    """The 2.5th and 97.5th percentile of (R,) resampled values, NaN left out; (None, None) if nothing is left."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
