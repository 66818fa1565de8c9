"""Losses over logits with class weights, label smoothing and masked unknown labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from thorax.config import TrainingConfig
from thorax.data.samples import SampleSet
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace


def class_weights(images: SampleSet, cap: float) -> dict[str, float]:
    """Weight N/N_l of each class (label): N images with a known label, N_l of them positive; at most `cap`.

    This is `use_weighted_loss` of SageMaker's built-in Image Classification algorithm. For a multi-label set it weighs
    the positive term of label l; torch's pos_weight for a balanced loss would be (N - N_l)/N_l = N/N_l - 1. For
    exclusive classes it weighs every image by its class (so in a binary task the positives by N/N_1, the negatives by
    N/N_0).
    """
    targets = images.class_targets()
    known = (~np.isnan(targets)).sum(axis=0)
    positives = np.nansum(targets, axis=0)
    weights = np.minimum(known / np.maximum(positives, 1), cap)
    return dict(zip(images.space.classes, weights.round(6).tolist(), strict=True))


@dataclass(frozen=True)
class Loss:
    """Sum of the loss over images and labels; the trainer divides by `count` of the whole global batch.

    Attributes:
        name: bce, cross_entropy or focal.
        weights: (len(classes),) float32, by class; None for no weights.
        smoothing: targets 0 and 1 become s/2 and 1 - s/2 (for C exclusive classes: s/C and 1 - s + s/C).
        focal_gamma: exponent of the focal loss (Lin et al., "Focal loss for dense object detection", 2017).
    """

    name: str
    weights: torch.Tensor | None
    smoothing: float
    focal_gamma: float

    @classmethod
    def build(cls, config: TrainingConfig, space: LabelSpace, images: SampleSet, device: torch.device) -> Loss:
        """The loss of a run. Cross entropy of two classes is bce of their one logit (the other class's is 0).

        Raises:
            ThoraxError: cross entropy for labels that exclude nothing.
        """
        name = config.loss
        if name == "cross_entropy" and space.task == "multilabel":
            raise ThoraxError(
                "loss=cross_entropy but an image may have several labels or none; set loss=bce or focal, or leave"
                " loss out"
            )
        if name == "auto" or (name == "cross_entropy" and space.task == "binary"):
            name = "cross_entropy" if space.task == "multiclass" else "bce"
        weights = None
        if config.use_weighted_loss:
            by_class = class_weights(images, config.max_class_weight)
            weights = torch.tensor([by_class[c] for c in space.classes], dtype=torch.float32, device=device)
        return cls(name, weights, config.label_smoothing, config.focal_gamma)

    def count(self, targets: torch.Tensor) -> int:
        """What the sum is divided by to be a mean: known labels, or known images for cross entropy."""
        known = ~torch.isnan(targets)
        return int(known.all(dim=1).sum() if self.name == "cross_entropy" else known.sum())

    def sum(self, logits: torch.Tensor, targets: torch.Tensor, smooth: bool = True) -> torch.Tensor:
        """The loss summed over images and known labels, a float32 scalar.

        Args:
            logits: (n, L) of any float dtype.
            targets: (n, L) float32 in {0, 1, NaN}; NaN is unknown and counts for nothing. A row of cross entropy with
                a NaN counts for nothing either.
            smooth: apply label smoothing (training) or not (validation).
        """
        logits = logits.float()
        known = ~torch.isnan(targets)
        clean = torch.nan_to_num(targets)
        smoothing = self.smoothing if smooth else 0.0
        if self.name == "cross_entropy":
            rows = known.all(dim=1)
            soft = clean * (1 - smoothing) + smoothing / clean.shape[1]
            each = -(F.log_softmax(logits, dim=1) * soft).sum(dim=1)
            if self.weights is not None:
                each = each * (clean * self.weights).sum(dim=1)
            return (each * rows).sum()
        soft = clean * (1 - smoothing) + smoothing / 2
        each = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
        if self.name == "focal":
            p = torch.sigmoid(logits)
            wrong = clean * (1 - p) + (1 - clean) * p
            each = each * wrong.clamp(min=1e-12).pow(
                self.focal_gamma
            )  # at 0 the gradient of a power below 1 is infinite
        if self.weights is not None:
            each = each * self._binary_weights(clean)
        return (each * known).sum()

    def _binary_weights(self, clean: torch.Tensor) -> torch.Tensor:
        assert self.weights is not None
        if len(self.weights) == clean.shape[1] + 1:  # one logit: negative and positive weight
            return torch.where(clean > 0.5, self.weights[1], self.weights[0])
        return torch.where(clean > 0.5, self.weights, torch.ones_like(self.weights))


def probabilities(logits: torch.Tensor, task: str) -> torch.Tensor:
    """(N, L) float32 in 0..1: softmax for exclusive classes, else sigmoid of each logit."""
    return logits.float().softmax(dim=1) if task == "multiclass" else logits.float().sigmoid()
