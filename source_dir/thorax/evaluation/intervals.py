"""95 % bootstrap intervals by patient: patients are drawn with replacement, each with all of their images.

Images of one patient are not independent, so drawing images would give intervals that are too narrow. A resample
is never built: it is a row of counts (how often each patient was drawn), and every metric is computed from counts
as weights, many resamples at a time. The formulas are those of scikit-learn with sample_weight=counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Metrics of one label, in the order in which tables show them.
METRICS = (
    "auc",
    "average_precision",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "f1",
    "balanced_accuracy",
    "accuracy",
    "brier",
    "ece",
)

#: Bins of equal width that probabilities fall into for the calibration error, as in scikit-learn's calibration_curve.
BINS = 10

#: Resamples times images held at once. The largest arrays are 4 or 8 bytes an entry, and there are at most about ten.
CHUNK_ENTRIES = 2_000_000


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


class Ranking:
    """The images of one label in falling order of probability, sorted once and weighed many times.

    Images with equal probability form one step of the curves, so ties are exact. Only steps that hold a positive
    image add to either area, which makes a rare label cheap.
    """

    def __init__(self, target: Array, probability: Array) -> None:
        """Takes the target (N,) in {0, 1, NaN} and the probability (N,) of one label; NaN images are left out."""
        known = np.flatnonzero(~np.isnan(target))
        self.order = known[np.argsort(-probability[known], kind="stable")]
        ranked, positive = probability[self.order], target[self.order] == 1
        self.positives = self.order[positive]
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], len(ranked) > 0)) + 1
        first = np.append(0, last)[:-1]
        found = np.append(0, np.cumsum(positive))
        holds = found[last] > found[first]
        # A step is the images first:last of the order, and the positives found_first:found_last.
        self._first, self._last = first[holds], last[holds]
        self._found_first, self._found_last = found[self._first], found[self._last]

    @property
    def defined(self) -> bool:
        """Whether there is both a known positive and a known negative image."""
        return 0 < len(self.positives) < len(self.order)

    def areas(self, weights: Array, owner: Array | None = None) -> tuple[Array, Array]:
        """AUC and average precision under each row of weights; NaN where no weight is on one of the classes.

        Args:
            weights: (R, N) counts of images, or (R, P) counts of owners.
            owner: (N,) column of `weights` that holds for each image; by default its own.

        Returns:
            (R,) AUC: the chance that a positive image outranks a negative one, ties counting half.
            (R,) average precision: the sum over steps of recall gained times precision, without interpolation.
        """
        rows = max(1, CHUNK_ENTRIES // max(1, len(self.order)))
        parts = [self._areas(weights[start : start + rows], owner) for start in range(0, len(weights), rows)]
        return np.concatenate([auc for auc, _ in parts]), np.concatenate([precision for _, precision in parts])

    def _areas(self, weights: Array, owner: Array | None) -> tuple[Array, Array]:
        every = _running_sum(weights, self.order if owner is None else owner[self.order])
        true = _running_sum(weights, self.positives if owner is None else owner[self.positives])
        positives = true[:, -1].astype(np.float64)
        negatives = every[:, -1] - positives
        found = true[:, self._found_last]
        gained = found - true[:, self._found_first]
        reached = every[:, self._last]
        # Negatives ranked above the step's middle: those before it and half of those in it.
        above = (every[:, self._first] + reached - true[:, self._found_first] - found) * 0.5
        auc = ratio(np.einsum("rs,rs->r", gained, negatives[:, None] - above), positives * negatives)
        precision = found / np.maximum(reached, 1)  # nothing reached is nothing gained
        average_precision = ratio(np.einsum("rs,rs->r", gained, precision), positives)
        average_precision[negatives == 0] = np.nan
        return auc, average_precision


def threshold_metrics(tp: Array, fp: Array, tn: Array, fn: Array) -> dict[str, Array]:
    """The metrics of decisions from confusion counts of any one shape.

    NaN where undefined: sensitivity without positives, specificity without negatives, balanced accuracy without
    either; PPV where nothing is called positive, NPV where nothing is called negative; F1 without positives, true or
    predicted.
    """
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "accuracy": ratio(tp + tn, tp + fp + tn + fn),
    }


def bins_of(probabilities: Array) -> Array:
    """The bin 0..BINS-1 of each probability: bin b holds (b / BINS, (b + 1) / BINS], the first one also 0."""
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], probabilities)


def gaps(targets: Array, probabilities: Array, patients: Array, people: int) -> Array:
    """(P, L, BINS) sums of target - probability of each patient's known images in each bin."""
    labels = targets.shape[1]
    known = ~np.isnan(targets)
    gap = np.where(known, targets - probabilities.astype(np.float64), 0)
    cell = (patients[:, None] * labels + np.arange(labels)) * BINS + bins_of(probabilities)
    return np.bincount(cell.ravel(), weights=gap.ravel(), minlength=people * labels * BINS).reshape(
        people, labels, BINS
    )


def calibration_error(gap: Array, known: Array) -> Array:
    """Expected calibration error (Guo et al., "On calibration of modern neural networks", 2017) of one label's
    probabilities.

    The mean over images of the distance between the share of positives in an image's bin and the bin's mean
    probability.

    Args:
        gap: (..., BINS) sums of target - probability.
        known: (...) images.
    """
    return ratio(np.abs(gap).sum(axis=-1), known)


def confusion(targets: Array, decisions: Array) -> tuple[Array, Array, Array, Array]:
    """Which known entries are true positives, false positives, true negatives, false negatives: four bool (N, L)."""
    positive, negative = targets == 1, targets == 0
    return positive & decisions, negative & decisions, negative & ~decisions, positive & ~decisions


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
    by_patient = _sums_by_patient(
        np.concatenate([*confusion(targets, decisions), squares, answers], axis=1), patients, people
    )
    sums = np.concatenate([by_patient, gaps(targets, probabilities, patients, people).reshape(people, -1)], axis=1)
    rankings = [Ranking(targets[:, i], probabilities[:, i]) for i in range(labels)]
    pooled, owner = Ranking(targets.ravel(), probabilities.ravel()), np.repeat(patients, labels)

    found = Resampled(
        {name: np.full((resamples, labels), np.nan) for name in METRICS},
        {name: np.full(resamples, np.nan) for name in METRICS},
        np.full(resamples, np.nan),
    )
    start = 0
    for counts in resample_counts(people, resamples, seed, at_once=max(1, CHUNK_ENTRIES // images)):
        rows = slice(start, start + len(counts))
        start = rows.stop
        totals = counts.astype(np.float64) @ sums
        tp, fp, tn, fn, squared = (totals[:, i * labels : (i + 1) * labels] for i in range(5))
        gap = totals[:, 5 * labels + 2 :].reshape(len(counts), labels, BINS)
        for kept, values in (
            (found.labels, (tp, fp, tn, fn, squared, gap)),
            (found.micro, [x.sum(axis=1) for x in (tp, fp, tn, fn, squared, gap)]),
        ):
            known = sum(values[:4])
            for name, value in threshold_metrics(*values[:4]).items():
                kept[name][rows] = value
            kept["brier"][rows], kept["ece"][rows] = ratio(values[4], known), calibration_error(values[5], known)
        found.overall[rows] = ratio(totals[:, 5 * labels], totals[:, 5 * labels + 1])
        for i, ranking in enumerate(rankings):
            if ranking.defined:
                found.labels["auc"][rows, i], found.labels["average_precision"][rows, i] = ranking.areas(
                    counts, patients
                )
        if labels == 1:
            found.micro["auc"][rows], found.micro["average_precision"][rows] = (
                found.labels[name][rows, 0] for name in METRICS[:2]
            )
        elif pooled.defined:
            found.micro["auc"][rows], found.micro["average_precision"][rows] = pooled.areas(counts, owner)
    return found


def interval(values: Array) -> tuple[float | None, float | None]:
    """The 2.5th and 97.5th percentile of (R,) resampled values, NaN left out; (None, None) if nothing is left."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def mean_defined(values: Array) -> Array:
    """The mean over the last axis without NaN: NaN where all are (and no warning)."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1))


def ratio(top: Array, bottom: Array) -> Array:
    """top / bottom in float64, NaN where bottom is 0."""
    result = np.full(np.shape(bottom), np.nan)
    np.divide(top, bottom, out=result, where=np.asarray(bottom) > 0)
    return result


def _running_sum(weights: Array, columns: Array) -> Array:
    """(R, n + 1) sums of the first 0..n of the named columns of each row."""
    sums = np.zeros((len(weights), len(columns) + 1), dtype=weights.dtype)
    np.cumsum(np.take(weights, columns, axis=1), axis=1, out=sums[:, 1:])
    return sums


def _sums_by_patient(entries: Array, patients: Array, people: int) -> Array:
    """(P, K) sums of the (N, K) entries over each patient's images."""
    columns = [np.bincount(patients, weights=column, minlength=people) for column in entries.T]
    return np.stack(columns, axis=1)
