"""What the network answered on the training images of an epoch, as it learned: training accuracy and AUC at no cost.

The answers are those of the steps themselves: on augmented images, with dropout, each before the update that follows
it. So they are a little worse than those of the network that the epoch ends with, and need no second pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from thorax.data.samples import SampleSet
from thorax.evaluation.calibration import Calibration
from thorax.evaluation.metrics import epoch_metrics
from thorax.job import Process
from thorax.training import distributed

#: The metrics of an epoch that are kept of the training images.
KEPT = ("accuracy", "auc")


class TrainingAnswers:
    """Logits of this process's training images of one epoch; they stay on the device until they are asked for.

    Args:
        images: the training images.
        process: rank and world size.
        earlier: (N, L) of all processes, NaN where there was none yet: the first part of an epoch that goes on.
    """

    def __init__(self, images: SampleSet, process: Process, earlier: np.ndarray | None = None) -> None:
        self.images, self.process, self.earlier = images, process, earlier
        self._indices: list[torch.Tensor] = []
        self._logits: list[torch.Tensor] = []
        self._corrupt: set[int] = set()

    def add(self, indices: torch.Tensor, logits: torch.Tensor, corrupt: Sequence[int] = ()) -> None:
        """Takes (n,) places among the images and (n, L) logits, which are kept as they are; places of images that could
        not be read are passed over."""
        self._indices.append(indices)
        self._logits.append(logits.detach())
        self._corrupt.update(corrupt)

    def gathered(self) -> np.ndarray:
        """(N, L) float32 logits of the epoch so far, of all processes; NaN where an image was not seen. All processes
        call it together."""
        labels = len(self.images.space.outputs)
        if self._logits:
            indices = torch.cat(self._indices).numpy()
            rows = torch.cat([logits.float() for logits in self._logits]).cpu().numpy()
            rows[np.isin(indices, [*self._corrupt])] = np.nan
        else:
            indices, rows = np.zeros(0, np.int64), np.zeros((0, labels), np.float32)
        found = distributed.gather(indices, rows, len(self.images), self.process, once=False)
        if self.earlier is not None:
            found = np.where(np.isnan(found), self.earlier, found)
        return found

    def metrics(self) -> dict[str, float]:
        """{"train_accuracy", "train_auc"} of the images seen, as `epoch_metrics` has them, without calibration; NaN
        where they cannot be computed. Soft labels count as in scores: 1 above a half, 0 below, a half not at all."""
        logits = self.gathered()
        seen = np.isfinite(logits).all(axis=1)
        space, targets = self.images.space, self.images.targets[seen]
        nothing = dict.fromkeys((f"train_{name}" for name in KEPT), float("nan"))
        if not seen.any() or np.isnan(targets).all():
            return nothing
        hard = np.where(np.isnan(targets) | (targets == 0.5), np.nan, targets > 0.5)
        if space.task == "multiclass":
            hard = np.where((np.nansum(hard, axis=1) == 1)[:, None], hard, np.nan)
        p = Calibration.none(len(space.outputs)).probabilities(logits[seen], space.task)
        found = epoch_metrics(hard, p, space.task)
        return {f"train_{name}": found[name] for name in KEPT}
