"""Two classifiers on the same images: is one of them better, or is the difference noise?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thorax.errors import ThoraxError
from thorax.evaluation.arrays import Array, check_arrays, mean_defined
from thorax.evaluation.intervals import interval, resample_counts
from thorax.evaluation.ranking import CHUNK_ENTRIES, Ranking
from thorax.labels import LabelSpace


def compare(
    targets: Array,
    first: Array,
    second: Array,
    labels: LabelSpace,
    patients: Sequence[str] | Array,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The difference in AUC, by a paired bootstrap: every resample of patients scores both classifiers.

    Images that are hard for one are mostly hard for the other too, so the interval of the difference is narrower than
    those of the two AUCs suggest. p is two-sided: twice the share of resamples on the other side of zero, each side
    with one more (Davison and Hinkley, "Bootstrap methods and their application", 1997, 4.2), so never below
    2 / (resamples + 1).

    Args:
        targets: (N, L) in {0, 1, NaN = unknown}.
        first, second: (N, L) probabilities of the same images.
        labels: names and task of both.
        patients: (N,) the patient of each image.
        resamples, seed: as in `score`.

    Returns:
        {"macro": entry, "labels": {output: entry}}; an entry is {"first", "second", "difference" (second - first),
        "low", "high", "p"}, None where undefined; macro is the mean over labels with both answers.

    Raises:
        ThoraxError: arrays that cannot be scored or are not of the same images.
    """
    targets, first = check_arrays(targets, first, labels.task)
    _, second = check_arrays(targets, second, labels.task)
    if len(patients) != len(targets):
        raise ThoraxError(f"there are {len(patients)} patients for {len(targets)} images; give one for each image")
    names, owner = np.unique([str(patient) for patient in patients], return_inverse=True)
    columns = range(targets.shape[1])
    pairs = [tuple(Ranking(targets[:, k], p[:, k]) for p in (first, second)) for k in columns]
    points = _areas(pairs, np.ones((1, len(names)), np.int32), owner)[:, 0]
    at_once = max(1, CHUNK_ENTRIES // len(targets))
    rows = resample_counts(len(names), resamples if len(names) > 1 else 0, seed, at_once=at_once)
    drawn = np.concatenate([np.zeros((2, 0, len(columns))), *(_areas(pairs, counts, owner) for counts in rows)], axis=1)
    return {
        "macro": _entry(mean_defined(points), mean_defined(drawn[1] - drawn[0])),
        "labels": {
            name: _entry(points[:, k], drawn[1, :, k] - drawn[0, :, k]) for k, name in enumerate(labels.outputs)
        },
    }


def _areas(pairs: Sequence[tuple[Ranking, ...]], counts: Array, owner: Array) -> Array:
    """(2, R, L) AUC of both classifiers under the same counts."""
    found = np.full((2, len(counts), len(pairs)), np.nan)
    for k, pair in enumerate(pairs):
        for which, ranking in enumerate(pair):
            if ranking.defined:
                found[which, :, k] = ranking.areas(counts, owner)[0]
    return found


def _entry(points: Array, differences: Array) -> dict[str, float | None]:
    if np.isnan(points).any():
        return dict.fromkeys(("first", "second", "difference", "low", "high", "p"))
    low, high = interval(differences)
    known = differences[~np.isnan(differences)]
    fewer = min((known <= 0).sum(), (known >= 0).sum())
    p = min(1.0, 2 * (int(fewer) + 1) / (len(known) + 1)) if len(known) else None
    return {
        "first": float(points[0]),
        "second": float(points[1]),
        "difference": float(points[1] - points[0]),
        "low": low,
        "high": high,
        "p": p,
    }
