"""Probabilities in bins of equal width, and the calibration error that is read from them."""

from __future__ import annotations

import numpy as np

from thorax.evaluation.arrays import Array, ratio

#: Bins of equal width that probabilities fall into for the calibration error, as in scikit-learn's calibration_curve.
BINS = 10


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


def calibration_errors(targets: Array, probabilities: Array) -> Array:
    """(L,) calibration error of each label's known images; NaN where it has none."""
    gap = gaps(targets, probabilities, np.zeros(len(targets), np.int64), 1)[0]
    return calibration_error(gap, (~np.isnan(targets)).sum(axis=0))
