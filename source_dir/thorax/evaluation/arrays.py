"""Arrays of targets and probabilities: what can be scored, and arithmetic that knows undefined values (NaN)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thorax.errors import ThoraxError
from thorax.labels import Task

Array = NDArray[Any]


def check_arrays(targets: Array, probabilities: Array, task: Task) -> tuple[Array, Array]:
    """The two as arrays, if they can be scored.

    Raises:
        ThoraxError: no images, shapes that differ, probabilities that are NaN or outside [0, 1], targets other
            than 0, 1 and NaN, or a multiclass image whose known targets do not name one class.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    if not targets.size or not probabilities.size:
        raise ThoraxError("there are no images to evaluate; check the channel and the split sizes")
    if targets.ndim != 2 or targets.shape != probabilities.shape:
        raise ThoraxError(
            f"targets have shape {targets.shape} and probabilities {probabilities.shape}; both must be (images, labels)"
        )
    missing = int(np.isnan(probabilities).sum())
    outside = int(((probabilities < 0) | (probabilities > 1)).sum())
    if missing or outside:
        raise ThoraxError(
            f"of {probabilities.size} probabilities {missing} are NaN and {outside} are outside [0, 1]; "
            "a lower learning_rate or precision_dtype=float32 may help if training diverged"
        )
    wrong: Array = targets[~(np.isnan(targets) | np.isin(targets, (0, 1)))]
    if len(wrong):
        raise ThoraxError(
            f"{len(wrong)} of {targets.size} targets are not 0, 1 or NaN (unknown); the first is {wrong[0]:g}"
        )
    if task == "multiclass":
        sums = targets.sum(axis=1)
        odd = int(((sums != 1) & ~np.isnan(sums)).sum())
        if odd:
            raise ThoraxError(f"{odd} of {len(targets)} multiclass images do not have exactly one class")
    return targets, probabilities


def mean_defined(values: Array) -> Array:
    """The mean over the last axis without NaN: NaN where all are (and no warning)."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1))


def ratio(top: Array, bottom: Array) -> Array:
    """top / bottom in float64, NaN where bottom is 0."""
    result = np.full(np.shape(bottom), np.nan)
    np.divide(top, bottom, out=result, where=np.asarray(bottom) > 0)
    return result
