"""Thresholds, chosen on validation alone."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression


def choose(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """(L,) probabilities in 0..1 above (or at) which a label is called positive.

    Balanced accuracy is the goal. Where validation is nearly perfect, a whole range of cuts reaches the same balanced
    accuracy and the best one on paper is decided by a film or two. So the cut is taken where a class-balanced logistic
    fit of the label on the logit (Platt, "Probabilistic outputs for support vector machines", 1999, with equal weight
    for both classes) says one half: it uses all films, not only those next to the cut.

    Args:
        targets: (N, L) in {0, 1, NaN}.
        logits: (N, L), before the sigmoid.
    """
    cuts = []
    for column in range(logits.shape[1]):
        known = ~np.isnan(targets[:, column]) & ~np.isnan(logits[:, column])
        y, z = targets[known, column], logits[known, column]
        if len(np.unique(y)) < 2:
            cuts.append(0.5)
            continue
        fit = LogisticRegression(class_weight="balanced", C=1.0).fit(z[:, None], y)
        slope = float(fit.coef_[0, 0])
        cut = -float(fit.intercept_[0]) / slope if slope > 0 else 0.0
        cuts.append(float(1 / (1 + np.exp(-np.clip(cut, z.min(), z.max())))))
    return np.array(cuts, np.float32)
