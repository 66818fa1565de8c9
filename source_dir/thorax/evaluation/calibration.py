"""Calibration as a bundle stores it and a server applies it: a temperature and a bias for each label.

A label's probability is sigmoid(logit / temperature + bias), that of exclusive classes softmax(logits / temperature +
biases). Temperatures are above 0, so that of one label neither the ranking of images nor a decision changes. How they
are found is in calibration_fit.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thorax.evaluation.arrays import Array
from thorax.evaluation.binning import BINS, bins_of
from thorax.labels import LabelSpace, Task

_SMALLEST = 1e-7  # probabilities are kept this far from 0 and 1 where a logarithm is taken


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities.

    Attributes:
        temperatures: (L,) above 0, what each logit is divided by; equal ones for exclusive classes.
        biases: (L,) what is added then.
        methods: (L,) names of calibration_fit.METHODS, by which they were found; empty: not known.
    """

    temperatures: Array
    biases: Array
    methods: tuple[str, ...] = ()

    @classmethod
    def none(cls, outputs: int) -> Calibration:
        """The one that leaves `outputs` logits as they are."""
        return cls(np.ones(outputs), np.zeros(outputs))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Mapping[str, Any]], space: LabelSpace) -> Calibration:
        """That of a bundle's `calibration`; what is missing is a temperature of 1 and a bias of 0.

        Raises:
            ValueError, TypeError, AttributeError: it has another form, a temperature that is no number above 0, or a
                bias that is no number.
        """
        entries = [stored.get(name, {}) for name in space.outputs]
        temperatures = np.array([float(entry.get("temperature", 1.0)) for entry in entries])
        if not (np.isfinite(temperatures) & (temperatures > 0)).all():
            raise ValueError("a temperature is not a number above 0")
        biases = np.array([float(entry.get("bias", 0.0)) for entry in entries])
        if not np.isfinite(biases).all():
            raise ValueError("a bias is not a number")
        known = all("method" in entry for entry in entries)
        return cls(temperatures, biases, tuple(str(entry["method"]) for entry in entries) if known else ())

    @property
    def changes(self) -> bool:
        """Whether it changes any probability."""
        return bool((self.temperatures != 1).any() or (self.biases != 0).any())

    def to_dict(self, space: LabelSpace) -> dict[str, dict[str, Any]]:
        """As a bundle stores it: {output: {"temperature": t, "bias": b, "method": name}}; without a bias of 0."""
        rows = zip(space.outputs, self.temperatures.tolist(), self.biases.tolist(), strict=True)
        found: dict[str, dict[str, Any]] = {
            name: {"temperature": t} | ({"bias": b} if b else {}) for name, t, b in rows
        }
        for name, method in zip(space.outputs, self.methods, strict=False):
            found[name]["method"] = method
        return found

    def logits(self, logits: Array) -> Array:
        """(N, L) float64: calibrated, before sigmoid or softmax."""
        return np.asarray(logits.astype(np.float64) / self.temperatures + self.biases)

    def probabilities(self, logits: Array, task: Task) -> Array:
        """(N, L) float32 in 0..1 from (N, L) logits: what a server answers."""
        z = self.logits(logits)
        if task == "multiclass":
            grown = np.exp(z - z.max(axis=1, keepdims=True))
            return np.asarray(grown / grown.sum(axis=1, keepdims=True), np.float32)
        return np.asarray(sigmoid(z), np.float32)

    def undone(self, probabilities: Array, task: Task) -> Array:
        """(N, L) float32 probabilities as the network gave them: the inverse of `probabilities`."""
        p = np.clip(probabilities.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
        z = np.log(p) if task == "multiclass" else np.log(p) - np.log1p(-p)
        return Calibration.none(len(self.biases)).probabilities((z - self.biases) * self.temperatures, task)


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0, -z)))


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
