"""Whether a quantised network gives the answers of the float32 network, on images that it was not calibrated on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from thorax.evaluation.arrays import Array
from thorax.evaluation.ranking import Ranking
from thorax.labels import LabelSpace

#: What may change, at most: the mean AUC, a probability on average and at worst, the share of decisions.
LIMITS = {"auc": 0.002, "mean": 0.005, "largest": 0.03, "decisions": 0.005}


@dataclass(frozen=True)
class Figures:
    """How far the answers of two networks are apart.

    Attributes:
        images: that they were compared on.
        auc_float32, auc: mean over the labels that have both answers; NaN where none has.
        mean, largest: difference of a probability.
        changed: decisions that are another one, of `decisions` in all.
    """

    images: int
    auc_float32: float
    auc: float
    mean: float
    largest: float
    changed: int
    decisions: int

    @classmethod
    def of(cls, targets: Array, exact: Array, other: Array, space: LabelSpace, thresholds: Array) -> Figures:
        """From (N, L) targets (NaN: unknown), the float32 network's probabilities and the other's, and thresholds."""
        difference = np.abs(exact.astype(np.float64) - other)
        changed = space.decisions(exact, thresholds) != space.decisions(other, thresholds)
        return cls(
            images=len(exact),
            auc_float32=_mean_auc(targets, exact),
            auc=_mean_auc(targets, other),
            mean=float(difference.mean()),
            largest=float(difference.max()),
            changed=int(changed.sum()),
            decisions=int(changed.size),
        )

    def problems(self) -> list[str]:
        """Which limits are exceeded, in words; none: accepted."""
        found = []
        if not abs(self.auc - self.auc_float32) <= LIMITS["auc"]:
            found.append(f"AUC {self.auc_float32:.4f} -> {self.auc:.4f} (at most {LIMITS['auc']} apart)")
        for name in ("mean", "largest"):
            if not (value := getattr(self, name)) <= LIMITS[name]:
                found.append(f"{name} difference of a probability {value:.4f} (at most {LIMITS[name]})")
        if self.changed > LIMITS["decisions"] * self.decisions:
            found.append(f"{self.changed} of {self.decisions} decisions change (at most {LIMITS['decisions']:.1%})")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As the bundle stores them."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"AUC {self.auc_float32:.4f} -> {self.auc:.4f}, difference of a probability {self.mean:.4f} on average and"
            f" {self.largest:.4f} at most, {self.changed} of {self.decisions} decisions changed"
        )


def _mean_auc(targets: Array, p: Array) -> float:
    labels = [Ranking(targets[:, k], p[:, k]) for k in range(targets.shape[1])]
    areas = [float(label.areas(np.ones((1, len(p))))[0][0]) for label in labels if label.defined]
    return float(np.mean(areas)) if areas else float("nan")
