"""Thresholds, chosen on validation alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression


def choose(targets: np.ndarray, views: Sequence[np.ndarray]) -> np.ndarray:
    """(L,) probabilities in 0..1 at and above which a label is called positive; balanced accuracy is the goal.

    Where validation is nearly perfect, a wide range of cuts reaches the same balanced accuracy, and the best one on paper
    is decided by a film or two next to it. Two things make the choice steadier. The cut is where a class-balanced
    logistic fit of the label on the logit (Platt, "Probabilistic outputs for support vector machines", 1999, with equal
    weight for both classes) says one half, so that all films count. And the fit sees each film in several augmented views
    besides the film as served: films of another hospital or year vary more than those held out from the same one.

    Args:
        targets: (N, L) in {0, 1, NaN}; NaN is unknown and left out.
        views: one or more (N, L) arrays of logits, before the sigmoid; rows with NaN are left out.
    """
    return np.array([_cut(targets[:, k], [z[:, k] for z in views]) for k in range(targets.shape[1])], np.float32)


def _cut(targets: np.ndarray, views: Sequence[np.ndarray]) -> float:
    y, z = np.tile(targets, len(views)), np.concatenate(views)
    known = ~np.isnan(y) & ~np.isnan(z)
    y, z = y[known], z[known]
    if len(np.unique(y)) < 2:
        return 0.5
    fit = LogisticRegression(class_weight="balanced").fit(z[:, None], y)
    slope = float(fit.coef_[0, 0])
    cut = -float(fit.intercept_[0]) / slope if slope > 0 else 0.0
    return float(1 / (1 + np.exp(-np.clip(cut, z.min(), z.max()))))
