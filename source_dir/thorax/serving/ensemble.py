"""An ensemble at work: one image to every member, and their answers to one: the mean of their probabilities
(Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep ensembles", 2017).

Each member's probabilities are calibrated by its own calibration; their mean goes through the ensemble's own, fitted on
such means, because the mean of calibrated answers is less certain than it might be (Rahaman and Thiery, "Uncertainty
quantification and deep ensembles", 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from thorax.data.joint_preprocessing import JointPreprocessing
from thorax.labels import Task

if TYPE_CHECKING:
    from thorax.serving.bundle import Bundle
    from thorax.serving.classifier import Classifier

_SMALLEST = 1e-7


def pooled_logits(probabilities: np.ndarray, task: Task) -> np.ndarray:
    """(N, L) float64 logits of the mean of (M, N, L) probabilities: what an ensemble's calibration applies to."""
    p = np.clip(probabilities.astype(np.float64).mean(axis=0), _SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(p) if task == "multiclass" else np.log(p) - np.log1p(-p))


class Ensemble:
    """The members of a bundle.

    Attributes:
        members: a classifier each.
    """

    def __init__(self, bundle: Bundle, members: Sequence[Classifier]) -> None:
        self.bundle, self.members = bundle, list(members)

    def seen_by_each(self, images: np.ndarray) -> list[np.ndarray]:
        """Prepared images as each member takes them."""
        joint = self.bundle.preprocessing
        if not isinstance(joint, JointPreprocessing):
            return [images] * len(self.members)
        parts = joint.split(images)
        return [parts[member.bundle.preprocessing] for member in self.members]

    def answers(self, images: np.ndarray) -> np.ndarray:
        """(M, N, L) float32 calibrated probabilities of each member."""
        seen = self.seen_by_each(images)
        return np.stack([member.score(part) for member, part in zip(self.members, seen, strict=True)])

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """(N, 2 L) float32: calibrated probabilities, then the standard deviation of the members' own."""
        each = self.answers(images)
        task = self.bundle.space.task
        p = self.bundle.calibrator.probabilities(pooled_logits(each, task), task)
        return np.concatenate([p, each.std(axis=0)], axis=1)

    def heat_map(self, image: np.ndarray, label: str) -> np.ndarray:
        """(height, width) float32 in 0..1 of the first member's size: the mean of the members' maps of an image."""
        maps = [
            member.heat_map(part[0], label).map
            for member, part in zip(self.members, self.seen_by_each(image[None]), strict=True)
        ]
        height, width = maps[0].shape
        same = [np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR)) for one in maps]
        mean = np.clip(np.mean(same, axis=0), 0, 1)
        return np.asarray(mean / mean.max() if mean.any() else mean, np.float32)

    def warnings(self, spread: np.ndarray) -> list[str]:
        """Where an image's (L,) standard deviations exceed the limits that the bundle stores, in words."""
        limits = (self.bundle.ensemble or {}).get("limits", {})
        return [
            f"the {len(self.members)} members disagree about {name}: their standard deviation is {value:.3f}, more than"
            f" the {limits[name]:.3f} of 95 % of the images that the ensemble was fitted on"
            for name, value in zip(self.bundle.labels, spread.tolist(), strict=True)
            if name in limits and value > limits[name]
        ]
