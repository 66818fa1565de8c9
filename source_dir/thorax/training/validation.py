"""A network's logits of whole parts, each image scored exactly once, and the metrics of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import nn

from thorax.config import TrainingConfig
from thorax.data.images import Preprocessing
from thorax.data.loading import Batch, EvaluationBatches, ImageDataset, loader
from thorax.data.samples import SampleSet
from thorax.data.views import Views
from thorax.errors import ThoraxError
from thorax.evaluation import calibration_fit
from thorax.evaluation.calibration import Calibration
from thorax.evaluation.metrics import epoch_metrics
from thorax.labels import Task
from thorax.tracking.progress import Progress
from thorax.training import distributed
from thorax.training.augmenting import augmentation, by_readers
from thorax.training.inputs import Hardware
from thorax.training.losses import Loss
from thorax.training.precision import autocast

#: Images (n, H, W) uint8 on the device and their random draws, or None as served -> the network's input.
Prepare = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


@dataclass(frozen=True)
class Scoring:
    """How logits are computed.

    Attributes:
        precision: of the arithmetic; None: the run's.
        tta: views of each image (data/views.py) whose logits are averaged.
    """

    precision: str | None = None
    tta: int = 1


class Evaluator:
    """Scores whole parts, over all processes together.

    Args:
        prepare: makes the network's input.

    Attributes:
        corrupt: ids of images that could not be read (only with skip_corrupt).
    """

    def __init__(
        self, config: TrainingConfig, preprocessing: Preprocessing, hardware: Hardware, prepare: Prepare
    ) -> None:
        self.config, self.preprocessing, self.hardware, self.prepare = config, preprocessing, hardware, prepare
        self.corrupt: set[str] = set()

    def requests(self, images: SampleSet, view: int = 0) -> EvaluationBatches:
        """What this process reads of a part."""
        c, process = self.config, self.hardware.process
        size = max(1, c.batch_size // process.local_world_size // c.accumulation_steps)
        return EvaluationBatches(len(images), size, process.rank, process.world_size, view)

    def dataset(self, images: SampleSet, view: int = 0) -> ImageDataset:
        """What reads them."""
        c = self.config
        return ImageDataset(
            images,
            self.preprocessing,
            seed=c.seed,
            random_crop=view > 0,
            skip_corrupt=c.skip_corrupt,
            augment=by_readers(c, self.hardware),
        )

    @torch.no_grad()
    def logits(
        self,
        net: nn.Module,
        images: SampleSet,
        view: int = 0,
        ahead: Iterator[Batch] | None = None,
        how: Scoring | None = None,
    ) -> np.ndarray:
        """(N, L) float32 logits of every image of the part, in its order, in every process; each image scored once.

        View 0 is the image as served; others are augmented as in training. Rows of corrupt images are NaN (only with
        skip_corrupt).

        Args:
            ahead: gives the batches of `requests` where they are being read already; so many are taken.
            how: default: in the run's precision, each image by itself.

        Raises:
            ThoraxError: an image cannot be read.
        """
        process, device, requests = self.hardware.process, self.hardware.device, self.requests(images, view)
        net.eval()
        if ahead is None:
            ahead = loader(self.dataset(images, view), requests, self.hardware.workers, pin=device.type == "cuda")
        indices, rows = [np.zeros(0, np.int64)], []
        progress = Progress(
            f"scoring {images.part}" + (f", augmented view {view}" if view else ""),
            len(images),
            shown=process.is_main,
            every=self.config.log_seconds,
        )
        with progress:
            for batch in islice(ahead, len(requests)):
                if batch.problem:
                    raise ThoraxError(f"{batch.problem}; fix or remove it, or set skip_corrupt=true")
                z = self._batch_logits(net, batch, view, how or Scoring())
                z[np.isin(batch.indices.numpy(), batch.corrupt)] = np.nan
                self.corrupt.update(images.samples[i].id for i in batch.corrupt)
                indices.append(batch.indices.numpy())
                rows.append(z)
                progress.step(count=len(batch.indices) * process.world_size)
        found = np.concatenate(rows or [np.zeros((0, len(images.space.outputs)), np.float32)])
        return distributed.gather(np.concatenate(indices), found, len(images), process)

    def _batch_logits(self, net: nn.Module, batch: Batch, view: int, how: Scoring) -> np.ndarray:
        """(n, L) float32 logits of a batch, the mean of those of each image's views."""
        device, precision = self.hardware.device, how.precision or self.hardware.precision

        def logits(images: torch.Tensor, draws: torch.Tensor | None) -> np.ndarray:
            x = self.prepare(images.to(device, non_blocking=True), draws)
            with autocast(precision, device):
                return np.asarray(net(x).float().cpu().numpy())

        draws = batch.draws.to(device) if view else None
        if how.tta == 1:
            return logits(batch.images, draws)
        images = batch.images
        if draws is not None and len(draws):  # not yet augmented
            images = augmentation(self.config)(images.to(device), draws).cpu()
        views = Views.of(how.tta, {"augmentation_type": self.config.augmentation_type})
        return views.mean_logits(lambda seen: logits(torch.from_numpy(seen), None), images.numpy(), len(images))


def validation_metrics(logits: np.ndarray, images: SampleSet, loss: Loss, config: TrainingConfig) -> dict[str, float]:
    """Loss and metrics of an epoch as `validation_...`, over the images that have finite logits.

    The metrics are those of probabilities with a temperature, which of exclusive classes changes how one class ranks
    against the rest; what else calibration does is the bundle's matter, so that epochs are compared at the same cut.

    Args:
        logits: (N, L) float32; a row with a NaN does not count.
        images: the N images.
        loss: the run's; label smoothing is left out.
        config: top_k.
    """
    scored = ~np.isnan(logits).any(axis=1)
    z, targets, task = logits[scored], images.targets[scored], images.space.task
    weights = None if loss.weights is None else loss.weights.cpu()
    criterion = Loss(loss.name, weights, 0.0, loss.focal_gamma)
    known = torch.from_numpy(targets)
    mean = float(criterion.sum(torch.from_numpy(z), known)) / max(criterion.count(known), 1)
    p = _with_temperature(targets, z, task).probabilities(z, task)
    metrics = epoch_metrics(targets, p, task, top_k=config.top_k or None)
    return {"validation_loss": mean, **{f"validation_{key}": float(value) for key, value in metrics.items()}}


def _with_temperature(targets: np.ndarray, logits: np.ndarray, task: Task) -> Calibration:
    if np.isinf(logits).any():
        return Calibration.none(targets.shape[1])
    measured = calibration_fit.Measured(targets, logits, task, [], np.zeros(targets.shape[1]))
    return calibration_fit.fit("temperature", measured)
