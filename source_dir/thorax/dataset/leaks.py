"""Properties of the files (colour mode, size, bits, type) that give the label away; a network may learn them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: A rule counts where, by chance, a rule as this one would be found in fewer than one of this many sets.
UNLIKELY = 100
#: Images of the smallest group that makes a rule.
FEWEST = 5
#: An attribute leaks where even the lower end of its AUC's 95 % interval is above this.
LEAST_AUC = 0.55
MOST_IMAGES = 20_000


def rules(
    name: str, values: Sequence[str], labels: np.ndarray, label: str, negative: str
) -> list[tuple[str, np.ndarray]]:
    """Values of one attribute that all go with the label, or all without it: (sentence, places of their images).

    Args:
        values: the attribute of every image.
        labels: (N,) 0 or 1.
        label, negative: what 1 and 0 are called.
    """
    share, column, found = labels.mean(), np.array(values), []
    different = sorted(set(values))
    for value in different:
        places = np.flatnonzero(column == value)
        mine = labels[places]
        if not FEWEST <= len(places) < len(column) or mine.min() != mine.max():
            continue
        expected, meaning = (share, label) if mine[0] else (1 - share, negative)
        if expected ** len(places) * len(different) * UNLIKELY < 1:
            rule = f"all {len(places)} images with {name} {value} are {meaning} (of all images {expected:.0%} are)"
            found.append((rule, places))
    return found


def auc_of(
    attributes: np.ndarray, labels: np.ndarray, patients: Sequence[str], seed: int = 0
) -> tuple[float, float] | None:
    """(AUC, lower end of its 95 % interval) of a small tree on (N, A) attributes alone, for patients unseen by it.

    The interval is Hanley and McNeil's, 1982. None where there are too few images or patients of either label.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    places = np.arange(len(labels))
    if len(places) > MOST_IMAGES:
        places = np.sort(np.random.default_rng(seed).choice(places, MOST_IMAGES, replace=False))
    y, who = labels[places].astype(int), np.unique(np.array(patients)[places], return_inverse=True)[1]
    positive, negative = int(y.sum()), int(len(y) - y.sum())
    if min(len(set(who[y == 1])), len(set(who[y == 0]))) < 10:
        return None
    tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=max(3, len(y) // 100), random_state=seed)
    predicted = cross_val_predict(
        tree,
        attributes[places],
        y,
        groups=who,
        cv=StratifiedGroupKFold(5, shuffle=True, random_state=seed),
        method="predict_proba",
    )[:, 1]
    auc = float(roc_auc_score(y, predicted))
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (positive - 1) * (q1 - auc**2) + (negative - 1) * (q2 - auc**2)) / (
        positive * negative
    )
    return auc, auc - 1.96 * float(np.sqrt(max(variance, 0.0)))
