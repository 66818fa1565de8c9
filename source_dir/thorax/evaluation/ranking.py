"""Areas under the ROC and the precision-recall curve of one label, for many weightings of its images at a time.

The formulas are those of scikit-learn with sample_weight.
"""

from __future__ import annotations

import numpy as np

from thorax.evaluation.arrays import Array, ratio

#: Resamples times images held at once. The largest arrays are 4 or 8 bytes an entry, and there are at most about ten.
CHUNK_ENTRIES = 2_000_000


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

    @property
    def point(self) -> tuple[float, float]:
        """AUC and average precision of the images as they are; NaN without a positive or without a negative image."""
        if not self.defined:
            return float("nan"), float("nan")
        every = np.ones((1, int(self.order.max()) + 1), dtype=np.int64)
        auc, precision = self.areas(every)
        return float(auc[0]), float(precision[0])

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


def _running_sum(weights: Array, columns: Array) -> Array:
    """(R, n + 1) sums of the first 0..n of the named columns of each row."""
    sums = np.zeros((len(weights), len(columns) + 1), dtype=weights.dtype)
    np.cumsum(np.take(weights, columns, axis=1), axis=1, out=sums[:, 1:])
    return sums
