"""Thresholds, chosen on validation alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thorax.evaluation.arrays import Array
from thorax.evaluation.calibration import Calibration
from thorax.labels import Task

RULES = ("balanced", "youden", "sensitivity", "cost", "loss")


@dataclass(frozen=True)
class ThresholdRule:
    """How thresholds are chosen.

    Attributes:
        name: balanced (class-balanced logistic fit, see `_balanced`), youden (highest sensitivity + specificity - 1),
            sensitivity (the highest cut that reaches `target`), cost (fewest false positives + `ratio` x false
            negatives) or loss (logit 0 before calibration: nothing is chosen on validation).
        target: the sensitivity to reach, above 0 and at most 1.
        ratio: cost of a missed positive, in false alarms.
    """

    name: str = "balanced"
    target: float | None = None
    ratio: float | None = None

    def __str__(self) -> str:
        return {
            "balanced": "balanced: equal weight to sensitivity and specificity",
            "youden": "Youden: the highest sum of sensitivity and specificity",
            "sensitivity": f"a sensitivity of at least {self.target}",
            "cost": f"the lowest cost, a missed positive costing as much as {self.ratio} false alarms",
            "loss": "0.5 before calibration, where the training loss weighs both answers alike",
        }[self.name]


def choose(targets: Array, views: Sequence[Array], task: Task, calibration: Calibration, rule: ThresholdRule) -> Array:
    """(L,) calibrated probabilities in 0..1 at and above which a label is called positive.

    Args:
        targets: (N, L) in {0, 1, NaN}; NaN is unknown and left out.
        views: one or more (N, L) arrays of logits before sigmoid or softmax: the images as served, then augmented
            views, which only the balanced rule uses. Rows with NaN are left out.
        task: the scores of exclusive classes are the log odds of one class against the rest.
        calibration: on whose scale they are.
        rule: how to choose.
    """
    seen = views if rule.name == "balanced" else views[:1]
    z = np.concatenate(seen).astype(np.float64)
    if task == "multiclass":
        z = _one_against_rest(calibration.logits(z))
        calibration = Calibration.none(z.shape[1])
    cut: Callable[[Array, Array, ThresholdRule], float] = {"balanced": _balanced, "loss": _zero}.get(rule.name, _best)
    y = np.tile(targets, (len(seen), 1))
    chosen = []
    for k, (temperature, bias) in enumerate(zip(calibration.temperatures, calibration.biases, strict=True)):
        known = ~np.isnan(y[:, k]) & ~np.isnan(z[:, k])
        target = y[known, k]
        both = len(np.unique(target)) == 2
        chosen.append(_sigmoid(cut(target, z[known, k], rule) / temperature + bias) if both else 0.5)
    return np.array(chosen, np.float32)


def _balanced(y: Array, z: Array, rule: ThresholdRule) -> float:
    """The logit of a cut that is steady where validation is nearly perfect.

    There a wide range of cuts reaches the same balanced accuracy, and the best one is decided by an image or two next
    to it. Two things make the choice steadier. The cut is where a class-balanced logistic fit of the label on the logit
    (Platt, "Probabilistic outputs for support vector machines", 1999, with equal weight for both classes) gives 0.5,
    so that all images count. And the fit gets several augmented views of each image besides the image as served:
    images of another hospital or year vary more than those held out from the same one.
    """
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression(class_weight="balanced").fit(z[:, None], y)
    slope = float(fit.coef_[0, 0])
    return float(np.clip(-float(fit.intercept_[0]) / slope if slope > 0 else 0.0, z.min(), z.max()))


def _zero(y: Array, z: Array, rule: ThresholdRule) -> float:
    return 0.0


def _best(y: Array, z: Array, rule: ThresholdRule) -> float:
    """The cut, halfway between two images, that is best by the rule; the highest of equals."""
    order = np.argsort(-z, kind="stable")
    ranked = z[order]
    last = np.append(
        np.flatnonzero(ranked[1:] != ranked[:-1]), len(z) - 1
    )  # the last image of each step of equal logits
    true = np.append(0, np.cumsum(y[order] == 1)[last])
    false = np.append(0, np.cumsum(y[order] == 0)[last])
    steps = np.concatenate([ranked[:1] + 1, ranked[last], ranked[-1:] - 1])
    cuts = (steps[1:] + steps[:-1]) / 2
    positives, negatives = true[-1], false[-1]
    if rule.name == "youden":
        # Sensitivity + specificity - 1, times both counts: so equals stay equal.
        value: Any = true * negatives - false * positives
    elif rule.name == "sensitivity":
        value = true >= np.ceil(rule.target * positives - 1e-9)
    else:
        value = -(false + rule.ratio * (positives - true))
    return float(cuts[int(np.argmax(value))])


def _one_against_rest(z: Array) -> Array:
    """log(p / (1 - p)) of each class, from (N, L) logits."""
    rest: Array = np.stack([np.logaddexp.reduce(np.delete(z, k, axis=1), axis=1) for k in range(z.shape[1])], axis=1)
    odds: Array = z - rest
    return odds


def _sigmoid(z: float) -> float:
    return float(np.exp(-np.logaddexp(0, -z)))
