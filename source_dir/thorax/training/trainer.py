"""The trainer: one story, in the order things happen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from thorax import models
from thorax.config import TrainingConfig
from thorax.data.augment import Augmentation, AugmentationRanges
from thorax.data.images import Preprocessing
from thorax.data.loading import (
    Batch,
    EvaluationBatches,
    ImageDataset,
    TrainingBatches,
    balanced_weights,
    epoch_order,
    loader,
)
from thorax.data.samples import SampleSet
from thorax.data.streaming import StreamedBatches, streams
from thorax.errors import ThoraxError
from thorax.evaluation.metrics import epoch_metrics
from thorax.job import Process
from thorax.tracking.metric_log import line, objective_key
from thorax.tracking.observers import Observer
from thorax.tracking.progress import Progress, say
from thorax.training import distributed
from thorax.training.checkpoints import Checkpoints
from thorax.training.ema import MovingAverage
from thorax.training.loss_log import LossLog
from thorax.training.losses import Loss, probabilities
from thorax.training.precision import autocast, scaler
from thorax.training.optimizers import build_optimizer, set_rate
from thorax.training.schedules import rate
from thorax.training.state import State
from thorax.training.stopping import Stop


class Trainer:
    """Trains a network on one part, chooses the best epoch on another, and scores any part exactly.

    Args:
        config: the hyperparameters.
        process: rank and world size.
        train, validation: the parts.
        preprocessing: how images are prepared.
        checkpoints: where to save and what to resume from.
        net: the network with its starting weights, on the CPU.
        device, precision: where and how to compute.
        workers: processes that read images.
        stop: asked after every step whether to save and end.
        log: takes whole lines (main process only).
        observer: told what happens, by those who watch the run; None where nobody does.
    """

    def __init__(
        self,
        config: TrainingConfig,
        process: Process,
        train: SampleSet,
        validation: SampleSet,
        preprocessing: Preprocessing,
        checkpoints: Checkpoints,
        net: nn.Module,
        *,
        device: torch.device,
        precision: str,
        workers: int,
        stop: Stop,
        log: Callable[[str], None] = say,
        observer: Observer | None = None,
    ) -> None:
        self.config, self.process, self.device, self.precision, self.workers = (
            config,
            process,
            device,
            precision,
            workers,
        )
        if len(train) < process.world_size:
            raise ThoraxError(
                f"train has {len(train)} images for {process.world_size} processes; start fewer processes"
            )
        self.train_images, self.validation_images, self.preprocessing = train, validation, preprocessing
        self.checkpoints, self.stop, self.log = checkpoints, stop, log
        self.state = State()
        if process.world_size > 1 and config.sync_batchnorm:
            net = models.sync_batchnorm(net, device.type)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.net = net.to(device, memory_format=layout)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(config, self.net)
        self.scaler = scaler(precision, device)
        self.average = MovingAverage(self.net, config.ema_decay) if config.ema_decay else None
        self.loss = Loss.build(config, train.space, train, device)
        self.targets = {part.part: torch.from_numpy(part.targets) for part in (train, validation)}
        self.augment = Augmentation(AugmentationRanges.named(config.augmentation_type, config.augmentation_strength))
        self.order_weights = balanced_weights(train) if config.balanced_sampler else None
        self.streamed = streams(config.streaming, config.balanced_sampler, train)
        self.steps_per_epoch = max(1, len(train) // self.batch_size)
        self.corrupt: set[str] = set()
        self._layout = layout
        self.observer = observer
        if observer is not None:
            observer.attach(self)

    @property
    def batch_size(self) -> int:
        """Images of a global batch: per machine x machines, at most the whole set."""
        machines = self.process.world_size // self.process.local_world_size
        return min(self.config.batch_size * machines, len(self.train_images))

    # -- The run ---------------------------------------------------------------------------------------------------

    def fit(self) -> bool:
        """Trains to the end, from the latest checkpoint if there is one. False if it was told to stop before.

        Raises:
            ThoraxError: the loss is not finite, an image cannot be read, memory or disk ran out.
        """
        if self.streamed:
            self._say(
                f"streaming: shards are read in order, {self.config.shuffle_buffer} images wait in memory to be"
                " shuffled"
            )
        self._resume()
        if self.observer is not None:
            self.observer.start(self.state.global_step, self.steps_per_epoch * self.config.epochs)
        while not self.state.finished:
            self._set_trained_stages()
            if not self._train_epoch():
                self._save("stopped")
                return False
            self._end_epoch()
        return True

    def _resume(self) -> None:
        saved = distributed.from_main(self.checkpoints.load_latest, self.process)
        if saved is None:
            return
        self.net.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        torch.set_rng_state(saved["random"])
        self.state = State(**saved["state"])
        where = (
            "at its end"
            if self.state.finished
            else f"at epoch {self.state.epoch + 1} step {self.state.step}/{self.steps_per_epoch}"
        )
        self._say(f"resumed from a checkpoint {where}")

    def _save(self, why: str) -> None:
        self._last_save = time.monotonic()
        if not self.process.is_main:
            return
        self.checkpoints.save(
            self.state.global_step,
            {
                "state": dict(vars(self.state)),
                "model": self.net.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "average": self.average.state_dict() if self.average else None,
                "random": torch.get_rng_state(),
            },
        )
        if why == "stopped":
            self._say(
                f"stopped by {self.stop.reason} at epoch {self.state.epoch + 1} step"
                f" {self.state.step}/{self.steps_per_epoch}; checkpoint saved in {self.checkpoints.folder}; the same"
                " command goes on from here"
            )

    # -- One epoch -------------------------------------------------------------------------------------------------

    def _train_epoch(self) -> bool:
        c, s = self.config, self.state
        batches = self._batches(s.epoch, s.step)
        images = ImageDataset(
            self.train_images,
            self.preprocessing,
            seed=c.seed,
            random_crop=c.augmentation_type != "none",
            rank=self.process.rank,
            world_size=self.process.world_size,
            skip_corrupt=c.skip_corrupt,
        )
        progress = Progress(
            f"epoch {s.epoch + 1}/{c.epochs}", self.steps_per_epoch, s.step, self.process.is_main, c.log_seconds
        )
        losses = LossLog(self)
        models.train_mode(self.net)
        self._seen, self._waited, self._started, self._last_save = 0, 0.0, time.monotonic(), time.monotonic()
        for batch in self._read(images, batches):
            due = time.monotonic() - self._last_save > c.checkpoint_minutes * 60
            told_to_stop, time_to_save = distributed.vote(
                (self.stop.requested, due and self.process.is_main), self.process
            )
            if told_to_stop:
                losses.look()
                progress.close()
                return False
            if time_to_save:
                losses.look()
                self._save("time")
            lr = rate(c, s.epoch + s.step / self.steps_per_epoch)
            set_rate(self.optimizer, lr)
            self._count(self._step(batch), batch, lr, losses, progress)
        losses.look()
        progress.close()
        return True

    def _batches(self, epoch: int, start: int) -> TrainingBatches:
        c, images = self.config, self.train_images
        if not self.streamed:
            return TrainingBatches(
                epoch_order(len(images), c.seed, epoch, self.order_weights), self.batch_size, epoch, start
            )
        return StreamedBatches(
            images, self.batch_size, c.shuffle_buffer, c.seed, epoch, start, self.process.rank, self.process.world_size
        )

    def _read(self, images: ImageDataset, batches: TrainingBatches) -> Iterator[Batch]:
        """Batches as they come, with the time spent waiting for them counted."""
        source = iter(loader(images, batches, self.workers, pin=self.device.type == "cuda"))
        while (batch := self._wait(source)) is not None:
            if batch.problem:
                raise ThoraxError(f"{batch.problem}; fix or remove it, or set skip_corrupt=true")
            self.corrupt.update(self.train_images.samples[i].id for i in batch.corrupt)
            yield batch

    def _wait(self, source: Iterator[Batch]) -> Batch | None:
        start = time.monotonic()
        batch = next(source, None)
        self._waited += time.monotonic() - start
        return batch

    def _step(self, batch: Batch) -> torch.Tensor:
        """One optimiser step on one global batch; returns this process's share of the loss sum, detached."""
        c = self.config
        torch.manual_seed((c.seed * 1_000_003 + self.state.global_step) * 4099 + self.process.rank)
        count = max(self.loss.count(self.targets["train"][batch.everyone]), 1)
        images, draws, targets = self._copy(batch)
        told = torch.zeros((), device=self.device)
        # As many parts in every process, however many images it has: gradients and batch norms meet in each.
        parts = torch.arange(len(images)).tensor_split(
            min(c.accumulation_steps, self.batch_size // self.process.world_size)
        )
        self.optimizer.zero_grad(set_to_none=True)
        # DDP averages gradients over processes; the loss is a mean over the global batch.
        share = self.process.world_size / count
        for k, part in enumerate(parts):
            rows = slice(int(part[0]), int(part[-1]) + 1)
            last = k == len(parts) - 1
            with nullcontext() if last or self.parallel is None else self.parallel.no_sync():
                loss = self._forward(self._augment(images[rows], draws[rows]), targets[rows])
                self._backward(loss * share)
            told += loss.detach()
        self._update(told * share)
        return told

    # -- The stages of a step; a profiler times them by these names -----------------------------------------------

    STAGES: ClassVar = {
        "data": "_wait",
        "copy": "_copy",
        "augmentation": "_augment",
        "forward": "_forward",
        "backward": "_backward",
        "optimizer": "_update",
        "logging": "_count",
    }

    def _copy(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images, random draws and targets of the batch, on the device."""
        targets = self.targets["train"][batch.indices]
        if batch.corrupt:
            targets = targets.clone()
            targets[torch.isin(batch.indices, torch.tensor(batch.corrupt))] = float("nan")
        images, draws, targets = (t.to(self.device, non_blocking=True) for t in (batch.images, batch.draws, targets))
        return images, draws, targets

    @torch.no_grad()
    def _augment(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        return self._prepare(self.augment(images, draws))

    def _forward(self, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss summed over the images."""
        with autocast(self.precision, self.device):
            logits = self.forward(x)
        return self.loss.sum(logits, targets)

    def _backward(self, loss: torch.Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def _update(self, loss: torch.Tensor) -> None:
        """Clips the gradients, moves the weights and their average."""
        c = self.config
        if c.clip_grad_norm or self.observer is not None:
            self.scaler.unscale_(self.optimizer)
        if self.observer is not None:
            self.observer.gradients(self.state.global_step + 1, loss, self.net)
        if c.clip_grad_norm:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), c.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.net)

    def _count(self, loss_sum: torch.Tensor, batch: Batch, lr: float, losses: LossLog, progress: Progress) -> None:
        """The books of a step."""
        losses.add(loss_sum, batch, lr)
        self.state.step += 1
        self.state.global_step += 1
        self._seen += len(batch.everyone)
        progress.step(losses.latest)
        if self.observer is not None:
            self.observer.step(self.state.global_step, losses.latest, lr)

    def _prepare(self, images: torch.Tensor) -> torch.Tensor:
        x = self.preprocessing.tensor(images)
        return x.contiguous(memory_format=self._layout)

    def _set_trained_stages(self) -> None:
        """Freezes or unfreezes stages for this epoch, and wraps the network for the processes and the compiler."""
        c = self.config
        if c.freeze == "head":
            models.freeze(self.net, 1 + sum(self.state.epoch >= e for e in c.unfreeze_epochs))
        self.parallel = None
        if self.process.world_size > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            self.parallel = nn.parallel.DistributedDataParallel(
                self.net, device_ids=ids, broadcast_buffers=not c.sync_batchnorm
            )
        forward = self.parallel or self.net
        self.forward: Any = torch.compile(forward) if c.compile else forward

    # -- The end of an epoch ---------------------------------------------------------------------------------------

    def _end_epoch(self) -> None:
        c, s = self.config, self.state
        seconds = time.monotonic() - self._started
        if (
            not c.sync_batchnorm
        ):  # each process has statistics of its own images since the last step; the main one's are kept
            distributed.share_buffers(self.evaluated, self.process)
        logits = self.logits(self.validation_images)
        row: dict[str, float] = {
            "epoch": s.epoch + 1,
            "train_loss": s.loss_sum / max(s.loss_count, 1),
            **self._validate(logits),
            "learning_rate": rate(c, s.epoch + (self.steps_per_epoch - 1) / self.steps_per_epoch),
            "images_per_second": self._seen / max(seconds, 1e-9),
            "data_wait": self._waited / max(seconds, 1e-9),
        }
        s.history.append(row)
        self._say(line(f"epoch {s.epoch + 1}/{c.epochs}", {k: v for k, v in row.items() if k != "epoch"}))
        if self.observer is not None:
            self.observer.epoch(row, s.global_step)
        self._advise(row)
        self._keep_best(row)
        s.epoch, s.step, s.loss_sum, s.loss_count = s.epoch + 1, 0, 0.0, 0
        early = (
            c.early_stopping and s.epoch >= c.early_stopping_min_epochs and s.bad_epochs >= c.early_stopping_patience
        )
        s.finished = s.epoch >= c.epochs or early
        if early and s.epoch < c.epochs:
            self._say(f"stopped early: {c.objective} has not improved for {s.bad_epochs} epochs")
        if s.finished or s.epoch % c.checkpoint_frequency == 0:
            self._save("epoch")

    def _validate(self, logits: np.ndarray) -> dict[str, float]:
        images = self.validation_images
        scored = ~np.isnan(logits).any(axis=1)
        if not scored.any() and not self.corrupt:
            raise ThoraxError(
                f"the network has no finite output on any validation image after epoch {self.state.epoch + 1}; lower"
                " learning_rate, or set clip_grad_norm=1"
            )
        z, targets = torch.from_numpy(logits[scored]), torch.from_numpy(images.targets[scored])
        criterion = Loss(
            self.loss.name, None if self.loss.weights is None else self.loss.weights.cpu(), 0.0, self.loss.focal_gamma
        )
        loss = float(criterion.sum(z, targets)) / max(criterion.count(targets), 1)
        told = epoch_metrics(
            targets.numpy(),
            probabilities(z, images.space.task).numpy(),
            images.space.task,
            **({"top_k": self.config.top_k} if self.config.top_k else {}),
        )
        return {"validation_loss": loss, **{f"validation_{key}": float(value) for key, value in told.items()}}

    def _keep_best(self, row: dict[str, float]) -> None:
        """Keeps the weights of the best epoch by the objective; the lower validation loss decides between equals."""
        c, s = self.config, self.state
        value = row[objective_key(c.objective)] * (-1 if c.objective == "loss" else 1)
        value = value if np.isfinite(value) else -row["validation_loss"]
        if value > s.best_value + c.early_stopping_tolerance or s.best_epoch < 0:
            s.bad_epochs = 0
        else:
            s.bad_epochs += 1
        if s.best_epoch < 0 or value > s.best_value or (value == s.best_value and row["validation_loss"] < s.best_loss):
            s.best_epoch, s.best_value, s.best_loss = s.epoch, value, row["validation_loss"]
            if self.process.is_main:
                self.checkpoints.save_best({"epoch": s.epoch, "model": self.evaluated.state_dict()})

    def _advise(self, row: dict[str, float]) -> None:
        if row["data_wait"] > 0.05:
            self._say(
                f"warning: {row['data_wait'] * 100:.0f} % of the time was spent waiting for images; raise num_workers"
                f" (now {self.workers}), or store the images near their training size"
            )

    # -- Scoring ---------------------------------------------------------------------------------------------------

    @property
    def evaluated(self) -> nn.Module:
        """The network that is scored and kept: the averaged one where there is one."""
        return self.average.module if self.average is not None else self.net

    def load_best(self) -> int:
        """Puts the best epoch's weights into the scored network; returns that epoch, from 0."""
        best = distributed.from_main(self.checkpoints.load_best, self.process)
        self.evaluated.load_state_dict(best["model"])
        return int(best["epoch"])

    @torch.no_grad()
    def logits(self, images: SampleSet, view: int = 0) -> np.ndarray:
        """(N, L) float32 logits of every image of the part, in its order, in every process; each image scored once.

        View 0 is the image as served; others are augmented as in training. Rows of corrupt images are NaN (only with
        skip_corrupt).
        """
        net = self.evaluated
        net.eval()
        batches = EvaluationBatches(
            len(images),
            max(1, self.config.batch_size // self.process.local_world_size // self.config.accumulation_steps),
            self.process.rank,
            self.process.world_size,
            view,
        )
        source = ImageDataset(
            images,
            self.preprocessing,
            seed=self.config.seed,
            random_crop=view > 0,
            skip_corrupt=self.config.skip_corrupt,
        )
        indices, rows = [np.zeros(0, np.int64)], [np.zeros((0, len(images.space.outputs)), np.float32)]
        for batch in loader(source, batches, self.workers, pin=self.device.type == "cuda"):
            if batch.problem:
                raise ThoraxError(f"{batch.problem}; fix or remove it, or set skip_corrupt=true")
            shown = batch.images.to(self.device, non_blocking=True)
            if view:
                shown = self.augment(shown, batch.draws.to(self.device))
            with autocast(self.precision, self.device):
                z = net(self._prepare(shown)).float().cpu().numpy()
            z[np.isin(batch.indices.numpy(), batch.corrupt)] = np.nan
            self.corrupt.update(images.samples[i].id for i in batch.corrupt)
            indices.append(batch.indices.numpy())
            rows.append(z)
        return distributed.gather(np.concatenate(indices), np.concatenate(rows), len(images), self.process)

    def _say(self, text: str) -> None:
        if self.process.is_main:
            self.log(text)
