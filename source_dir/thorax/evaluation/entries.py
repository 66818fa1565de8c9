"""What a metric is computed from: the known entries of one label (or of all labels pooled), once or resampled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from thorax.evaluation.arrays import Array
from thorax.evaluation.ranking import Ranking


class Counts(NamedTuple):
    """Confusion counts of any one shape: true and false positives, true and false negatives."""

    tp: Array
    fp: Array
    tn: Array
    fn: Array

    @property
    def known(self) -> Array:
        """All entries."""
        return self.tp + self.fp + self.tn + self.fn


def confusion(targets: Array, decisions: Array) -> Counts:
    """Which known entries are true positives, false positives, true negatives, false negatives: four bool (N, L)."""
    positive, negative = targets == 1, targets == 0
    return Counts(positive & decisions, negative & decisions, negative & ~decisions, positive & ~decisions)


@dataclass(frozen=True)
class Entries:
    """n known entries.

    Attributes:
        positive: (n,) bool, the targets.
        probability: (n,) float64 in [0, 1].
        decision: (n,) bool, whether the probability is at or above the threshold.
        patient: (n,) number of each entry's patient, 0..P-1.
    """

    positive: Array
    probability: Array
    decision: Array
    patient: Array

    @classmethod
    def known(cls, targets: Array, probabilities: Array, decisions: Array, patients: Array) -> Entries:
        """The entries whose target is not NaN, of (N,) arrays or of (N, L) arrays pooled; `patients` is (N,)."""
        known = ~np.isnan(targets)
        owner = np.broadcast_to(patients.reshape(-1, *[1] * (targets.ndim - 1)), targets.shape)
        return cls(targets[known] == 1, probabilities[known].astype(np.float64), decisions[known], owner[known])

    @cached_property
    def counts(self) -> Counts:
        """Confusion counts, four numbers."""
        return Counts(*(np.asarray(entries.sum()) for entries in confusion(self.positive, self.decision)))

    @cached_property
    def ranking(self) -> Ranking:
        """The entries in falling order of probability."""
        return Ranking(self.positive.astype(np.float32), self.probability)


@dataclass(frozen=True)
class Resamples:
    """The same entries in R resamples of patients.

    Attributes:
        entries: all n of them.
        weights: (R, P) int32, how often each patient was drawn.
        counts: confusion counts, (R,) float64 each.
        squared_error: (R,) sums of (target - probability) ** 2.
        gaps: (R, BINS) sums of target - probability in each bin of probability.
    """

    entries: Entries
    weights: Array
    counts: Counts
    squared_error: Array
    gaps: Array

    @cached_property
    def areas(self) -> tuple[Array, Array]:
        """(R,) AUC and (R,) average precision; NaN where undefined."""
        if not self.entries.ranking.defined:
            undefined = np.full(len(self.weights), np.nan)
            return undefined, undefined
        return self.entries.ranking.areas(self.weights, self.entries.patient)

    def total(self, values: Array) -> Array:
        """(R,) sums of (n,) values over the entries drawn."""
        by_patient = np.bincount(self.entries.patient, weights=values, minlength=self.weights.shape[1])
        return np.asarray(self.weights.astype(np.float64) @ by_patient)
