"""Temperature scaling: probabilities that match the share of positives, fitted on validation alone.

One number per label divides the logit, so that the ranking of images and every decision stay as they are (Guo et al.,
"On calibration of modern neural networks", 2017). Exclusive classes share one temperature, as they share one softmax.
It changes how certain the answers are, not their bias: class weights in the loss move probabilities by more than it can
undo.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thorax.evaluation.arrays import Array
from thorax.evaluation.binning import BINS, bins_of
from thorax.labels import LabelSpace, Task

#: Temperatures are looked for between these: 0.05 makes a logit of 0.5 certain, 20 makes one of 10 a coin.
LOWEST, HIGHEST = 0.05, 20.0
_SMALLEST = 1e-7  # probabilities are kept this far from 0 and 1 where a logarithm is taken


def fit(targets: Array, logits: Array, task: Task) -> Array:
    """(L,) temperatures that minimise the negative log-likelihood; equal ones for multiclass.

    Targets are Platt's ("Probabilistic outputs for support vector machines", 1999): (N+ + 1) / (N+ + 2) in place of 1
    and 1 / (N- + 2) in place of 0, so that a perfect separation does not make every answer certain.

    Args:
        targets: (N, L) in {0, 1, NaN}; NaN is unknown and left out.
        logits: (N, L) before sigmoid or softmax; rows with NaN are left out.
        task: multiclass has one temperature for all columns.

    Returns:
        1 for a label without both answers.
    """
    if task == "multiclass":
        known = ~np.isnan(targets).any(axis=1) & ~np.isnan(logits).any(axis=1)
        return np.full(targets.shape[1], _shared_temperature(targets[known], logits[known].astype(np.float64)))
    known = ~np.isnan(targets) & ~np.isnan(logits)
    return np.array(
        [_temperature(targets[keep, k], logits[keep, k].astype(np.float64)) for k, keep in enumerate(known.T)]
    )


def temperatures_for(rule: str, targets: Array, logits: Array, task: Task) -> Array:
    """(L,) temperatures by the hyperparameter `calibration`: those of `fit`, or 1 where it is "none" or a logit is
    infinite."""
    if rule != "temperature" or np.isinf(logits).any():
        return np.ones(targets.shape[1])
    return fit(targets, logits, task)


def described(temperatures: Array, space: LabelSpace) -> dict[str, dict[str, float]]:
    """As a bundle stores them: {output: {"temperature": t}}; exclusive classes all have the same."""
    return {name: {"temperature": float(t)} for name, t in zip(space.outputs, temperatures, strict=True)}


def temperatures_of(stored: Mapping[str, Mapping[str, Any]], space: LabelSpace) -> Array:
    """(L,) temperatures of a bundle's `calibration`; what is missing is 1.

    Raises:
        ValueError, TypeError, AttributeError: it has another form, or a temperature that is no number above 0.
    """
    temperatures = np.array([float(stored.get(name, {}).get("temperature", 1.0)) for name in space.outputs])
    if not (np.isfinite(temperatures) & (temperatures > 0)).all():
        raise ValueError("a temperature is not a number above 0")
    return temperatures


def probabilities(logits: Array, task: Task, temperatures: Array) -> Array:
    """(N, L) float32 in 0..1 from (N, L) logits and (L,) temperatures: what a server answers."""
    z = logits.astype(np.float64) / temperatures
    if task == "multiclass":
        grown = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(grown / grown.sum(axis=1, keepdims=True), np.float32)
    return np.asarray(_sigmoid(z), np.float32)


def uncalibrated(calibrated: Array, task: Task, temperatures: Array) -> Array:
    """(N, L) float32 probabilities as they were before the temperature: the inverse of `probabilities`."""
    p = np.clip(calibrated.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    z = np.log(p) if task == "multiclass" else np.log(p) - np.log1p(-p)
    return probabilities(z * temperatures, task, np.ones(len(temperatures)))


def reliability(targets: Array, probability: Array) -> list[dict[str, float]]:
    """The reliability curve over all known entries: [{"images", "probability": mean, "positive": share}], a row for
    each bin in use."""
    known = ~np.isnan(targets)
    y, p = targets[known].astype(np.float64), probability[known].astype(np.float64)
    bins = bins_of(p)
    images, mean, share = (np.bincount(bins, weights=w, minlength=BINS) for w in (np.ones(len(p)), p, y))
    return [
        {"images": int(n), "probability": m / n, "positive": s / n}
        for n, m, s in zip(images, mean.tolist(), share.tolist(), strict=True)
        if n
    ]


def _temperature(y: Array, z: Array) -> float:
    positives, negatives = float(y.sum()), float(len(y) - y.sum())
    if not positives or not negatives:
        return 1.0
    smooth = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    return _minimum(lambda t: float(np.mean(np.logaddexp(0, z / t) - smooth * z / t)))


def _shared_temperature(targets: Array, z: Array) -> float:
    images, classes = targets.shape
    if len(np.unique(targets.argmax(axis=1))) < 2:
        return 1.0
    smooth = (targets * images + 1) / (images + classes)

    def loss(t: float) -> float:
        shifted = z / t - (z / t).max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - (smooth * shifted).sum(axis=1)))

    return _minimum(loss)


def _minimum(loss: Any) -> float:
    from scipy.optimize import minimize_scalar  # servers read this module and have no scipy

    found = minimize_scalar(
        lambda log: loss(float(np.exp(log))),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def _sigmoid(z: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0, -z)))
