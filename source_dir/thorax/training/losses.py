"""Losses over logits with class weights, label smoothing and masked unknown labels: one entry of LOSSES each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from thorax.config import TrainingConfig
from thorax.config.fields import plain
from thorax.data.loading import balanced_weights
from thorax.data.samples import SampleSet
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.registry import Registry


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


def prior_shift(config: TrainingConfig, images: SampleSet) -> np.ndarray:
    """(L,) how far class weights and class-balanced drawing move the logits up from the log odds of the data.

    The loss weighted with w1 for positives and w0 for negatives is least at log(p / (1 - p)) + log(w1 / w0), that of
    exclusive classes at log(p_l) + log(w_l) up to a constant; drawing a class more often acts as a weight (Elkan, "The
    foundations of cost-sensitive learning", 2001). Exact for bce and cross_entropy; the focal loss moves on.
    """
    space = images.space
    shift = np.zeros(len(space.outputs))
    if config.use_weighted_loss:
        weights = class_weights(images, config.max_class_weight)
        log = np.log([weights[name] for name in space.classes])
        shift = shift + (log[1:] - log[:1] if space.task == "binary" else log)
    if config.balanced_sampler:
        known, drawn = ~np.isnan(images.targets), balanced_weights(images)[:, None]
        positive = np.nan_to_num(images.targets)
        before, after = (
            (positive * w).sum(axis=0) / np.maximum((known * w).sum(axis=0), 1e-12)
            for w in (np.ones_like(drawn), drawn)
        )
        mixed = (before > 0) & (before < 1) & (after > 0) & (after < 1)
        before, after = (np.where(mixed, share, 0.5) for share in (before, after))
        exclusive = space.task == "multiclass"
        shift = shift + np.log(after / before) - (0 if exclusive else np.log((1 - after) / (1 - before)))
    return np.asarray(shift)


def capped_weights(images: SampleSet, config: TrainingConfig) -> str:
    """A line that names the classes whose weight max_class_weight cuts off, with what it would be; "" for none."""
    if not config.use_weighted_loss:
        return ""
    cap = config.max_class_weight
    cut = {name: w for name, w in class_weights(images, math.inf).items() if w > cap}
    if not cut:
        return ""
    some = ", ".join(f"{name} ({w:.1f})" for name, w in list(cut.items())[:5])
    more = f" and {len(cut) - 5} more" if len(cut) > 5 else ""
    return (
        f"max_class_weight={plain(cap)} cuts off the weight N/N_l of {some}{more}; the built-in algorithm has no such"
        f" cap: max_class_weight={math.ceil(max(cut.values()))} lifts it"
    )


@dataclass(frozen=True)
class LossSpec:
    """One entry of LOSSES.

    Attributes:
        terms: the loss of each image and label from (logits, targets, smoothed, loss): all (n, L) float32, `targets` in
            {0, 1} with unknown labels as 0, `smoothed` the same after label smoothing, `loss` the run's Loss with its
            settings. Returns (n, L), or (n,) where `per_image`; unknown labels and class weights are its caller's work.
        per_image: one number an image, for exclusive classes.
    """

    terms: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Loss], torch.Tensor]
    per_image: bool = False


LOSSES: Registry[LossSpec] = Registry("loss")


@dataclass(frozen=True)
class Loss:
    """Sum of the loss over images and labels; the trainer divides by `count` of the whole global batch.

    Attributes:
        name: an entry of LOSSES.
        weights: (len(classes),) float32, by class; None for no weights.
        smoothing: targets 0 and 1 become s/2 and 1 - s/2 (for C exclusive classes: s/C and 1 - s + s/C).
        focal_gamma: exponent of the focal loss.
    """

    name: str
    weights: torch.Tensor | None
    smoothing: float
    focal_gamma: float

    @classmethod
    def build(cls, config: TrainingConfig, space: LabelSpace, images: SampleSet, device: torch.device) -> Loss:
        """The loss of a run. Cross entropy of two classes is bce of their one logit (the other class's is 0).

        Raises:
            ThoraxError: a loss of whole images for labels that exclude nothing.
        """
        name = config.loss
        if name != "auto" and LOSSES[name].per_image and space.task == "multilabel":
            raise ThoraxError(
                f"loss={name} but an image may have several labels or none; set loss=bce or focal, or leave loss out"
            )
        if name == "auto" or (name == "cross_entropy" and space.task == "binary"):
            name = "cross_entropy" if space.task == "multiclass" else "bce"
        weights = None
        if config.use_weighted_loss:
            by_class = class_weights(images, config.max_class_weight)
            weights = torch.tensor([by_class[c] for c in space.classes], dtype=torch.float32, device=device)
        return cls(name, weights, config.label_smoothing, config.focal_gamma)

    def count(self, targets: torch.Tensor) -> int:
        """What the sum is divided by to be a mean: known labels, or known images where the loss is of whole images."""
        known = ~torch.isnan(targets)
        return int(known.all(dim=1).sum() if LOSSES[self.name].per_image else known.sum())

    def sum(self, logits: torch.Tensor, targets: torch.Tensor, smooth: bool = True) -> torch.Tensor:
        """The loss summed over images and known labels, a float32 scalar.

        Args:
            logits: (n, L) of any float dtype.
            targets: (n, L) float32 in {0, 1, NaN}; NaN is unknown and counts for nothing. Where the loss is of whole
                images, a row with a NaN counts for nothing either.
            smooth: apply label smoothing (training) or not (validation).
        """
        spec = LOSSES[self.name]
        known = ~torch.isnan(targets)
        clean = torch.nan_to_num(targets)
        smoothing = self.smoothing if smooth else 0.0
        soft = clean * (1 - smoothing) + smoothing / (clean.shape[1] if spec.per_image else 2)
        terms = spec.terms(logits.float(), clean, soft, self)
        if spec.per_image:
            if self.weights is not None:
                terms = terms * (clean * self.weights).sum(dim=1)
            return (terms * known.all(dim=1)).sum()
        if self.weights is not None:
            terms = terms * self._binary_weights(clean)
        return (terms * known).sum()

    def _binary_weights(self, clean: torch.Tensor) -> torch.Tensor:
        assert self.weights is not None
        if len(self.weights) == clean.shape[1] + 1:  # one logit: negative and positive weight
            return torch.where(clean > 0.5, self.weights[1], self.weights[0])
        return torch.where(clean > 0.5, self.weights, torch.ones_like(self.weights))


def _bce(logits: torch.Tensor, targets: torch.Tensor, smoothed: torch.Tensor, loss: Loss) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")


def _focal(logits: torch.Tensor, targets: torch.Tensor, smoothed: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Lin et al., "Focal loss for dense object detection", 2017."""
    p = torch.sigmoid(logits)
    wrong = targets * (1 - p) + (1 - targets) * p
    # At 0 the gradient of a power below 1 is infinite.
    return _bce(logits, targets, smoothed, loss) * wrong.clamp(min=1e-12).pow(loss.focal_gamma)


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor, smoothed: torch.Tensor, loss: Loss) -> torch.Tensor:
    return -(F.log_softmax(logits, dim=1) * smoothed).sum(dim=1)


LOSSES.register("bce", LossSpec(_bce))
LOSSES.register("cross_entropy", LossSpec(_cross_entropy, per_image=True))
LOSSES.register("focal", LossSpec(_focal))
