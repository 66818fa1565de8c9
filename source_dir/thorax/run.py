"""One run, from channels to bundle: prepare -> load -> build -> fit -> score -> save.

All processes of a run walk through it together; the main one alone logs and writes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thorax import models
from thorax.config import TrainingConfig
from thorax.config.parse import offered
from thorax.data.decoders import GRAY
from thorax.data.image_bytes import digest_of_images
from thorax.data.loading import reading
from thorax.data.streaming import streams
from thorax.errors import ThoraxError
from thorax.evaluation.batch_picture import batch_picture
from thorax.files import write_whole
from thorax.job import Job
from thorax.models.weights_source import statistics_warning
from thorax.result import (
    BATCH,
    Facts,
    Outputs,
    TrainingResult,
    held_out_answers,
    last_lines,
    precision_note,
    save_result,
    score,
)
from thorax.run_data import LoadedData, load
from thorax.run_setup import RunContext, prepare
from thorax.serving.bundle import Bundle
from thorax.text import counted, were
from thorax.tracking.factory import build_observer
from thorax.tracking.observers import Observer
from thorax.tracking.progress import busy
from thorax.training import distributed, memory
from thorax.training.checkpoints import IMAGES, Checkpoints, latest_compute
from thorax.training.compute import Memory, choose
from thorax.training.inputs import Monitoring
from thorax.training.kernels import gpu_kernels
from thorax.training.probe import Compute
from thorax.training.stopping import signals_restored
from thorax.training.trainer import Trainer

#: Training images in the picture of a batch.
SHOWN = 12


@dataclass
class Observation:
    """What follows a run, and how it ended: finished, stopped or failed."""

    observer: Observer | None = None
    outcome: str = "failed"


def train(
    config: TrainingConfig | Mapping[str, Any],
    *,
    train: Path | str,
    validation: Path | str | None = None,
    test: Path | str | None = None,
    weights: Path | str | None = None,
    channels: Mapping[str, Path | str] | None = None,
    output: Path | str,
) -> TrainingResult:
    """Trains a classifier in this process, on this machine, as train_model.py does in a job.

    A run that was stopped (Ctrl-C, SIGTERM or a kill) goes on from its last checkpoint when it is called again. Signal
    handlers, torch's threads and its random numbers are as before when it returns.

    Args:
        config: the hyperparameters, or a mapping of them in any spelling, such as {"network": "resnet18", "lr": 0.001}.
        train: images for training, in any format of docs/data.md.
        validation: images that choose epoch and thresholds; default: cut from `train` by patient.
        test: images that are scored once, at the end.
        weights: a state_dict in torchvision's layout, or an earlier bundle, to start from.
        channels: more channels by name, such as {"train_lst": folder}.
        output: everything is written below this folder: model/ is the bundle, output/data/ has report, metrics and
            history, checkpoints/ what a stopped run goes on from.

    Returns:
        The bundle, metrics, report and history.

    Raises:
        ThoraxError: a mistake in what was given, or a limit of the machine.
    """
    config = config if isinstance(config, TrainingConfig) else TrainingConfig.of(config)
    named = {"train": train, "validation": validation, "test": test, "weights": weights}
    given = {name: path for name, path in named.items() if path is not None}
    if twice := sorted(given.keys() & (channels or {}).keys()):
        raise ThoraxError(f"channel {twice[0]} is given twice: as {twice[0]}= and in channels=")
    if weights is not None and config.weights:
        raise ThoraxError(
            f"weights={weights} and the hyperparameter weights={config.weights} are given; give one of them"
        )
    job = Job.below(Path(output), {**given, **(channels or {})})
    job.clear_failure()
    threads, devices = torch.get_num_threads(), range(torch.cuda.device_count())
    with signals_restored(), torch.random.fork_rng(devices):
        try:
            return run_job(job, config, readable=True)
        finally:
            torch.set_num_threads(threads)


def run_job(
    job: Job, config: TrainingConfig, *, source_dir: Path | None = None, readable: bool | None = None
) -> TrainingResult:
    """Trains in a job's folders, in all of its processes.

    Args:
        source_dir: where the files lie that a bundle takes along; default: where `source_file` finds them.
        readable: logs the configuration as a table of what differs from the defaults, and not as one JSON line;
            default: on a terminal.

    Raises:
        ThoraxError: as `train`.
    """
    device = distributed.device_of(job.process)
    kernels = gpu_kernels(config.tf32, device, config.deterministic)
    with distributed.process_group(job.process, device), kernels, reading():
        # In a function of its own, so that nothing of the run outlives the process group.
        return _run(job, config, device, source_dir, sys.stdout.isatty() if readable is None else readable)


def _run(
    job: Job, config: TrainingConfig, device: torch.device, source_dir: Path | None, readable: bool
) -> TrainingResult:
    run = prepare(job, config, device, readable)
    with busy("reading the images' list", job.process.is_main):
        data = load(run)
    net = build(run, data)
    run = settle(run, data, net)
    with observed(run) as observation:
        trainer = trainer_of(run, data, net, observation.observer)
        show_batch(run, trainer)
        if not fit(run, trainer):
            observation.outcome = "stopped"
            return TrainingResult.of(job, stop_reason=run.stop.reason)
        outputs = score_images(run, data, trainer)
        result = save(run, data, trainer, outputs, source_dir) if job.process.is_main else TrainingResult.of(job)
        observation.outcome = "finished"
        return result


# -- Stages ------------------------------------------------------------------------------------------------------------


def build(run: RunContext, data: LoadedData) -> nn.Module:
    """The network with its starting weights, on the CPU.

    Raises:
        ThoraxError: the weights do not fit.
    """
    c = run.config
    net = models.build(c.network, c.channels, len(data.parts.space.outputs), c.dropout, c.activation_checkpointing)
    if run.weights is not None:
        fit = models.fit_weights(net, run.weights, data.parts.space.outputs)
        for note in fit.notes:
            run.say(f"weights: {note}")
        run.say(f"weights: loaded from {run.weights}: {fit.fitted} of {counted(fit.total, 'tensor')} fit")
        if warning := statistics_warning(fit.statistics, data.preprocessing, offered("normalization")):
            run.say(f"warning: {warning}")
    return net


def settle(run: RunContext, data: LoadedData, net: nn.Module) -> RunContext:
    """The run with its precision, memory layout and threads: as asked for, as in its checkpoint, or as measured.

    Raises:
        ThoraxError: the checkpoint's precision needs a GPU.
    """
    memory_of = Memory(partial(latest_compute, run.job.checkpoint_dir), run.job.cache_dir)
    with busy("measuring precision and threads", run.job.process.is_main):
        hardware, reason = choose(run.config, net, data.training, run.hardware, memory_of)
    torch.set_num_threads(hardware.threads)
    run.say(f"precision: {Compute.of(hardware)}: {reason}")
    return replace(run, hardware=hardware, compute=reason)


@contextmanager
def observed(run: RunContext) -> Iterator[Observation]:
    """What follows the run, as hyperparameters and environment ask."""
    observation = Observation(build_observer(run.config, run.job, run.hardware.device, run.hardware.workers, run.say))
    try:
        yield observation
    finally:
        if observation.observer is not None:
            observation.observer.close(observation.outcome)


def trainer_of(run: RunContext, data: LoadedData, net: nn.Module, observer: Observer | None) -> Trainer:
    """The trainer, with the checkpoints of this run and no other."""
    identity = run.config.identity() | {
        "split": data.parts.split_hash,
        "processes": run.job.process.world_size,
        "precision": run.hardware.precision,
    }
    if not streams(run.config.streaming, run.config.balanced_sampler, data.parts.train):
        with busy("looking at the bytes of the images", run.job.process.is_main):
            identity[IMAGES] = distributed.from_main(partial(digest_of_images, data.parts.all), run.job.process)
    if (grey := data.preprocessing.grey) > 1:  # earlier checkpoints have no entry
        identity["grey"] = grey
    if (color := data.preprocessing.color) != GRAY:
        identity["color"] = color
    return Trainer(
        run.config,
        net,
        data.training,
        run.hardware,
        Checkpoints(run.job.checkpoint_dir, identity, run.say),
        Monitoring(run.stop, observer, run.say, run.job.hour_price),
    )


def show_batch(run: RunContext, trainer: Trainer) -> None:
    """Writes batch.png: some training images as the network sees them, augmented, with their labels; so that a mistake
    in either is seen before hours are spent. An image that cannot be read is left to the training."""
    if not run.job.process.is_main:
        return
    device = run.hardware.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        batch = trainer.reader.first(SHOWN)
        if batch.problem or not len(batch.images):
            return
        x = trainer.prepare(batch.images.to(device), batch.draws.to(device)).float().cpu().numpy()
    x = x[:, 0] if trainer.preprocessing.color == GRAY else trainer.preprocessing.levels(x)
    space, targets = trainer.train_images.space, trainer.train_images.targets[batch.indices.numpy()]
    labels = [
        ", ".join(name for name, y in zip(space.outputs, row, strict=True) if y > 0.5)
        or (space.classes[0] if space.task == "binary" else "-")
        for row in targets
    ]
    write_whole(batch_picture(x, labels), run.job.output_dir / BATCH, "picture of a batch")


def fit(run: RunContext, trainer: Trainer) -> bool:
    """Trains; False if a signal stopped it."""
    with memory.advise(run.config, run.hardware.device):
        return trainer.fit()


def score_images(run: RunContext, data: LoadedData, trainer: Trainer) -> Outputs:
    """The best epoch's logits of validation and test, and of augmented views of validation that fit the thresholds."""
    c, parts = run.config, data.parts
    best = trainer.load_best()
    if (held_out := parts.held_out) is not None:
        with memory.advise(c, run.hardware.device):
            tested = {} if parts.test is None else {"test": trainer.logits(parts.test)}
        return Outputs(best, {"validation": held_out.logits, **tested}, list(held_out.augmented))
    views = c.threshold_views if c.augmentation_type != "none" and c.threshold_rule == "balanced" else 0
    with memory.advise(c, run.hardware.device):
        logits = {part.part: trainer.logits(part) for part in parts.scored}
        augmented = [trainer.logits(parts.validation, view) for view in range(1, views + 1)]
    if trainer.corrupt:
        some = ", ".join(sorted(trainer.corrupt)[:5])
        count = f"{counted(len(trainer.corrupt), 'image')} could not be read and {were(len(trainer.corrupt))}"
        run.say(f"warning: {count} left out (skip_corrupt=true), e.g. {some}")
    return Outputs(best, logits, augmented)


def save(
    run: RunContext, data: LoadedData, trainer: Trainer, outputs: Outputs, source_dir: Path | None
) -> TrainingResult:
    """Scores the best epoch and writes metrics, report and bundle; the main process's work alone.

    Raises:
        ThoraxError: no image of a part could be read, or the disk is full.
    """
    with busy("scoring"):
        scores = score(run.config, data.parts, outputs)
    machine = {
        "precision": run.hardware.precision,
        "layout": "channels_last" if run.hardware.channels_last else "contiguous",
        "precision, layout and threads": run.compute,
        "device": run.hardware.device.type,
        "processes": str(run.job.process.world_size),
        "threads": str(run.hardware.threads),
        "minutes since the last start": f"{(time.monotonic() - run.started) / 60:.1f}",
    }
    if data.parts.held_out is not None:
        machine["validation"] = f"out-of-fold answers of {data.parts.held_out.count} folds; history: training images"
    if run.config.folds:
        held_out_answers(run.config, data.parts, outputs).write(run.job.output_dir)
    facts = Facts(trainer, machine)
    with busy("writing report and bundle"):
        result = save_result(run.job, run.config, data.parts, scores, facts, source_dir)
    if run.config.optimize:
        optimize_result(run, data)
    if not data.parts.held_out and (note := precision_note(run.hardware.precision, result, scores)):
        run.say(note)
    for text in last_lines(result, data.parts, scores):
        run.say(text)
    return result


def optimize_result(run: RunContext, data: LoadedData) -> None:
    """Quantises the bundle's network on the validation images; where that fails, the bundle is as good as without."""
    from thorax.optimize.bundles import optimize  # late: needs OpenVINO and NNCF
    from thorax.optimize.examples import Examples

    part = data.parts.validation
    try:
        sources = [sample.source for sample in part.samples]
        examples = Examples.read(data.preprocessing, sources, part.targets, part.patients)
        made = optimize(Bundle.load(run.job.model_dir), examples, say=run.say)
    except ThoraxError as error:
        run.say(f"warning: optimize=true: {error}; the bundle is served without")
    else:
        for text in made.table().splitlines():
            run.say(f"optimized: {text}")
