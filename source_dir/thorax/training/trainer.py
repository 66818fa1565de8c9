"""The trainer: one story, in the order things happen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from thorax import models
from thorax.config import TrainingConfig
from thorax.data.loading import Batch
from thorax.data.samples import SampleSet
from thorax.errors import ThoraxError
from thorax.text import counted
from thorax.tracking.metric_log import epoch_line
from thorax.tracking.progress import Progress
from thorax.training import distributed, saving
from thorax.training.answers import TrainingAnswers
from thorax.training.augmenting import augmentation
from thorax.training.averaging import finish_average
from thorax.training.checkpoints import Checkpoints
from thorax.training.ema import MovingAverage
from thorax.training.head_start import fit_first
from thorax.training.inputs import Hardware, Monitoring, TrainingData
from thorax.training.kernels import first_step
from thorax.training.loss_log import LossLog
from thorax.training.losses import Loss
from thorax.training.meter import EpochMeter
from thorax.training.optimizers import build_optimizer, set_rate
from thorax.training.precision import autocast, scaler
from thorax.training.reader import RunReader
from thorax.training.schedules import plateau_factor, rate
from thorax.training.state import State
from thorax.training.swa import WeightAverage
from thorax.training.validation import Evaluator, Scoring, validation_metrics

#: Waiting for images is told from this share of an epoch and this many seconds on.
SLOW_SHARE, SLOW_SECONDS = 0.05, 0.5


class Trainer:
    """Trains a network on one part, chooses the best epoch on another, and scores any part exactly.

    Args:
        config: the hyperparameters.
        net: the network with its starting weights, on the CPU.
        data: the parts, and how they are prepared.
        hardware: where and how to compute.
        checkpoints: where to save and what to resume from.
        monitoring: what stops and what follows the run.

    Raises:
        ThoraxError: there are fewer images than processes.
    """

    def __init__(
        self,
        config: TrainingConfig,
        net: nn.Module,
        data: TrainingData,
        hardware: Hardware,
        checkpoints: Checkpoints,
        monitoring: Monitoring,
    ) -> None:
        self.config, self.checkpoints = config, checkpoints
        self.process, self.device = hardware.process, hardware.device
        self.hardware, self.preprocessing = hardware, data.preprocessing
        self.train_images, self.validation_images = data.train, data.validation
        self.stop, self.observer, self.log = monitoring.stop, monitoring.observer, monitoring.log
        self.hour_price, self.keep_last = monitoring.hour_price, data.keep_last
        if len(data.train) < self.process.world_size:
            raise ThoraxError(
                f"train has {len(data.train)} images for {self.process.world_size} processes; start fewer processes"
            )
        self.state = State()
        if self.process.world_size > 1 and config.sync_batchnorm:
            net = models.sync_batchnorm(net, self.device.type)
        self.layout = torch.channels_last if self.channels_last else torch.contiguous_format
        self.net = net.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        self.parallel: nn.parallel.DistributedDataParallel | None = None
        self.forward: Callable[[torch.Tensor], torch.Tensor] = self.net
        self.network_input: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = self.prepare
        self.optimizer = build_optimizer(config, self.net)
        self.scaler = scaler(hardware.precision, self.device)
        self.average = MovingAverage(self.net, config.ema_decay) if config.ema_decay else None
        self.swa = WeightAverage(self.eval_model, config.epochs, config.swa_epochs) if config.swa_epochs else None
        #: The validation metrics of the averaged weights of the last epochs, where these are kept.
        self.swa_row: dict[str, float] = {}
        self.loss = Loss.build(config, data.train.space, data.train, self.device)
        self.targets = torch.from_numpy(data.train.targets)
        self.augment = augmentation(config)
        self.steps_per_epoch = max(1, len(data.train) // self.batch_size)
        self.evaluator = Evaluator(config, data.preprocessing, hardware, self.prepare)
        self.reader = RunReader(config, data, hardware, self.batch_size, self.evaluator)
        self.meter = EpochMeter()
        self.answers = TrainingAnswers(data.train, self.process)
        self.last_save, self.first_step, self.advised = time.monotonic(), True, False
        # The context of a step's stage by name: data, copy, augmentation, forward, backward, optimizer or logging.
        self.stage: Callable[[str], AbstractContextManager[Any]] = nullcontext
        if self.observer is not None:
            self.stage = self.observer.stage
            self.observer.attach(self)

    @property
    def channels_last(self) -> bool:
        """Whether images and weights lie in memory channel by pixel."""
        asked = self.config.channels_last
        return self.hardware.channels_last if asked is None else asked

    @property
    def batch_size(self) -> int:
        """Images of a global batch: per machine x machines, at most the whole set."""
        machines = self.process.world_size // self.process.local_world_size
        return min(self.config.batch_size * machines, len(self.train_images))

    # -- The run ---------------------------------------------------------------------------------------------------

    def fit(self) -> bool:
        """Trains to the end, from the latest checkpoint if there is one. False if a signal stopped it before.

        Raises:
            ThoraxError: the loss is not finite, an image cannot be read, memory or disk ran out.
        """
        if self.config.compile:
            self.say("compile=true: the first step compiles the network, which may take a minute or more")
        if self.reader.streamed:
            self.say(
                f"streaming: shards are read in order, {self.config.shuffle_buffer} images wait in memory to be"
                " shuffled"
            )
        saving.resume(self)
        if self.config.fit_head and not self.state.global_step:
            fit_first(self)
        if self.observer is not None:
            self.observer.start(self.state.global_step, self.steps_per_epoch * self.config.epochs)
        try:
            if not self._run_epochs():
                return False
            if self.swa is not None:
                finish_average(self, self.swa)
            return True
        finally:
            self.reader.close()

    def _run_epochs(self) -> bool:
        while not self.state.finished:
            self.prepare_epoch()
            if not self._train_epoch():
                saving.save(self)
                self.say(
                    f"stopped by {self.stop.reason} at epoch {self.state.epoch + 1} step"
                    f" {self.state.step}/{self.steps_per_epoch}; checkpoint saved in {self.checkpoints.folder}; the"
                    " same command goes on from here"
                )
                return False
            self._end_epoch()
        return True

    # -- One epoch -------------------------------------------------------------------------------------------------

    def prepare_epoch(self) -> None:
        """Freezes or unfreezes stages for this epoch, and wraps the network for the processes and the compiler."""
        c = self.config
        if c.freeze == "head":
            models.freeze(self.net, 1 + sum(self.state.epoch >= e for e in c.unfreeze_epochs))
        if c.freeze_batchnorm:
            models.freeze_batchnorm(self.net)
        self.parallel = None
        if self.process.world_size > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            self.parallel = nn.parallel.DistributedDataParallel(
                self.net, device_ids=ids, broadcast_buffers=not c.sync_batchnorm
            )
        forward = self.parallel or self.net
        self.forward = torch.compile(forward) if c.compile else forward
        if c.compile and self.device.type == "cuda":  # dozens of kernels over the whole batch become a few
            self.augment.draw_grain(self.preprocessing.height, self.preprocessing.width, self.device)
            self.network_input = torch.compile(self.prepare)
        models.train_mode(self.net)

    def _train_epoch(self) -> bool:
        """Makes the steps that are left of the epoch; False if a signal stopped it."""
        c, s = self.config, self.state
        epoch_images = self.steps_per_epoch * self.batch_size
        progress = Progress(
            title=f"epoch {s.epoch + 1}/{c.epochs}",
            total=epoch_images,
            start=s.step * self.batch_size,
            shown=self.process.is_main,
            every=c.log_seconds,
            best=s.described_best(c),
            after=(c.epochs - s.epoch - 1) * epoch_images,
            counts=False,
        )
        losses = LossLog(s, self.hardware, self.observer)
        self.meter, self.last_save = EpochMeter(s.seconds), time.monotonic()
        self.reader.open(s.epoch, s.step)
        for batch in self._batches():
            due = time.monotonic() - self.last_save > c.checkpoint_minutes * 60
            stop_requested, save_due = distributed.vote(
                (self.stop.requested, due and self.process.is_main), self.process
            )
            if stop_requested:
                losses.read()
                progress.close()
                return False
            if save_due:
                losses.read()
                saving.save(self)
            began = time.monotonic()
            self.train_step(batch, losses, progress)
            if self.first_step:
                losses.read()
                if told := first_step(time.monotonic() - began, c.compile, self.device):
                    self.say(told)
                self.first_step = False
        losses.read()
        progress.close()
        return True

    def _batches(self) -> Iterator[Batch]:
        """The epoch's batches from the state's step on, with the time spent waiting for them counted."""
        for _ in range(self.state.step, self.steps_per_epoch):
            with self.stage("data"):
                start = time.monotonic()
                batch = next(self.reader.batches)
                self.meter.waited += time.monotonic() - start
            if batch.problem:
                raise ThoraxError(f"{batch.problem}; fix or remove it, or set skip_corrupt=true")
            self.corrupt.update(self.train_images.samples[i].id for i in batch.corrupt)
            yield batch

    # -- One step ----------------------------------------------------------------------------------------------------

    def train_step(self, batch: Batch, losses: LossLog, progress: Progress) -> None:
        """One step at its learning rate, written to the logs."""
        lr = self._rate(self.state.step)
        set_rate(self.optimizer, lr)
        loss_sum = self.optimize(batch)
        with self.stage("logging"):
            losses.add(loss_sum, self.loss.count(self.targets[batch.global_indices]), lr)
            self.state.step += 1
            self.state.global_step += 1
            self.meter.images += len(batch.global_indices)
            progress.step(losses.latest, self.batch_size)
            if self.observer is not None:
                self.observer.step(self.state.global_step, losses.latest, lr)

    def _rate(self, step: int) -> float:
        """The learning rate at a step of this epoch."""
        fallen = plateau_factor(self.config, (row["validation_loss"] for row in self.state.history))
        return fallen * rate(self.config, self.state.epoch + step / self.steps_per_epoch)

    def optimize(self, batch: Batch) -> torch.Tensor:
        """One optimizer step on one global batch; returns this process's share of the loss sum, detached."""
        c = self.config
        torch.manual_seed((c.seed * 1_000_003 + self.state.global_step) * 4099 + self.process.rank)
        count = max(self.loss.count(self.targets[batch.global_indices]), 1)
        with self.stage("copy"):
            images, draws, targets = self._to_device(batch)
        loss_sum = torch.zeros((), device=self.device)
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
                with self.stage("augmentation"):
                    x = self.network_input(images[rows], draws[rows])
                with self.stage("forward"):
                    with autocast(self.hardware.precision, self.device):
                        logits = self.forward(x)
                    loss = self.loss.sum(logits, targets[rows])
                with self.stage("backward"):
                    self.scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.detach()
            self.answers.add(batch.indices[rows], logits, batch.corrupt)
        with self.stage("optimizer"):
            self._update(loss_sum * share)
        return loss_sum

    def _to_device(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images, random draws and targets of the batch; targets of corrupt images are unknown."""
        targets = self.targets[batch.indices]
        if batch.corrupt:
            targets = targets.clone()
            targets[torch.isin(batch.indices, torch.tensor(batch.corrupt))] = float("nan")
        if self.device.type == "cuda":  # a copy from pageable memory would wait for the GPU's earlier work
            targets = targets.pin_memory()
        images, draws, targets = (t.to(self.device, non_blocking=True) for t in (batch.images, batch.draws, targets))
        return images, draws, targets

    @torch.no_grad()
    def prepare(self, images: torch.Tensor, draws: torch.Tensor | None) -> torch.Tensor:
        """The network's input, augmented by the images' random draws where there are some."""
        if draws is not None and len(draws):
            images = self.augment(images, draws)
        return self.preprocessing.tensor(images).contiguous(memory_format=self.layout)

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

    # -- The end of an epoch ---------------------------------------------------------------------------------------

    def _end_epoch(self) -> None:
        c, s = self.config, self.state
        seconds = self.meter.elapsed
        if not c.sync_batchnorm:  # each process has statistics of its own images; the main one's are kept
            distributed.share_buffers(self.eval_model, self.process)
        answered = self.answers.metrics()
        logits = self.validation_logits()
        if np.isnan(logits).any(axis=1).all() and not self.corrupt:
            raise ThoraxError(
                f"the network has no finite output on any validation image after epoch {s.epoch + 1}; lower"
                " learning_rate, or set clip_grad_norm=1"
            )
        row: dict[str, float] = {
            "epoch": s.epoch + 1,
            "train_loss": s.mean_loss,
            **answered,
            **validation_metrics(logits, self.validation_images, self.loss, c),
            "learning_rate": self._rate(self.steps_per_epoch - 1),
            "images_per_second": self.meter.images / seconds,
            "data_wait": self.meter.waited / seconds,
            **self.meter.end(self.hour_price),
        }
        s.history.append(row)
        best, head = s.is_best(row, c) or self.keep_last, f"epoch {s.epoch + 1}/{c.epochs}"
        exclusive = self.validation_images.space.task == "multiclass"
        self.say(epoch_line(head, row, exclusive=exclusive, seconds=row["epoch_seconds"], best=best))
        if self.observer is not None:
            self.observer.epoch(row, s.global_step)
        self._advise(row)
        if best and self.process.is_main:
            self.checkpoints.save_best({"epoch": s.epoch, "model": self.eval_model.state_dict()})
        if self.swa is not None:
            self.swa.update(self.eval_model, s.epoch)
        self.answers = TrainingAnswers(self.train_images, self.process)
        if s.next_epoch(c):
            self.say(f"stopped early: {c.objective} has not improved for {counted(s.bad_epochs, 'epoch')}")
        if s.finished or s.epoch % c.checkpoint_frequency == 0:
            saving.save(self)

    def _advise(self, row: dict[str, float]) -> None:
        """A hint where images are waited for, once in a run."""
        waited = row["data_wait"] * (time.monotonic() - self.meter.started)
        if row["data_wait"] > SLOW_SHARE and waited > SLOW_SECONDS and not self.advised:
            self.advised = True
            self.say(
                f"warning: {row['data_wait'] * 100:.0f} % of the time was spent waiting for images; raise num_workers"
                f" (now {self.reader.workers}), or store the images near their training size"
            )

    # -- Scoring ---------------------------------------------------------------------------------------------------

    @property
    def eval_model(self) -> nn.Module:
        """The network that is scored and kept: the averaged one where there is one."""
        return self.average.module if self.average is not None else self.net

    @property
    def corrupt(self) -> set[str]:
        """Ids of images that could not be read (only with skip_corrupt)."""
        return self.evaluator.corrupt

    def load_best(self) -> int:
        """Puts the best epoch's weights into the scored network; returns that epoch, from 0."""
        best = distributed.from_main(self.checkpoints.load_best, self.process)
        self.eval_model.load_state_dict(best["model"])
        return int(best["epoch"])

    def validation_logits(self) -> np.ndarray:
        """The logits of the validation images at the end of an epoch, which were read ahead."""
        return self.evaluator.logits(self.eval_model, self.validation_images, ahead=self.reader.batches)

    def logits(self, images: SampleSet, view: int = 0) -> np.ndarray:
        """(N, L) float32 logits of every image of the part by the scored network, see Evaluator.logits.

        Images as served are computed in float32, as `thorax evaluate` does; augmented views in the run's precision;
        both in the views of test-time augmentation.
        """
        how = Scoring(None if view else "float32", self.config.tta)
        return self.evaluator.logits(self.eval_model, images, view, how=how)

    def say(self, text: str) -> None:
        """A line in the log, of the main process alone."""
        if self.process.is_main:
            self.log(text)
