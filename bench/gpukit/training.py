"""Training: our Trainer as a job has it, its step alone and its epoch from files, beside the peers."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from gpukit import images, peers
from gpukit.common import Figure, Figures, Kit, Row, Window, free, measured, repeated
from thorax import models
from thorax.config import TrainingConfig
from thorax.data.augment import DRAWS
from thorax.data.formats import read_channel
from thorax.data.loading import Batch
from thorax.data.parts import preprocessing
from thorax.data.samples import SampleSet, label_space, sample_set
from thorax.training.checkpoints import Checkpoints
from thorax.training.inputs import Hardware, Monitoring, TrainingData
from thorax.training.kernels import gpu_kernels
from thorax.training.trainer import Trainer

STEP, FILES, MEMORY = "Training step", "Training from files", "Large images"


def images_of(folder: Path) -> SampleSet:
    listing = read_channel("train", folder, "auto")
    return sample_set("train", listing, label_space(listing, (), None))


@contextmanager
def our_trainer(kit: Kit, train: SampleSet, **settings: Any) -> Iterator[Trainer]:
    """Our Trainer with all defaults but `settings`; validation is a few images."""
    side = settings.pop("side", kit.sizes.side)
    options = {"batch_size": kit.sizes.batch, "network": kit.sizes.networks[0], **settings}
    config = TrainingConfig(image_shape=(1, side, side), epochs=1, log_seconds=1e9, checkpoint_minutes=1e6, **options)
    torch.manual_seed(0)
    net = models.build(config.network, 1, len(train.space.outputs), 0.0, config.activation_checkpointing)
    validation = train.subset([0, 1, len(train) - 2, len(train) - 1], "validation")
    with TemporaryDirectory(dir=kit.folder) as scratch, gpu_kernels(config.tf32, kit.device, config.deterministic):
        yield Trainer(
            config,
            net,
            TrainingData(train, validation, preprocessing(config)),
            Hardware(kit.device, kit.precision, workers=kit.sizes.workers),
            Checkpoints(Path(scratch), {}, lambda line: None),
            Monitoring(log=lambda line: None),
        )
    free()


def a_batch(kit: Kit, train: SampleSet, count: int, side: int) -> Batch:
    """Random images in pinned memory, as the loader would give them."""
    places = torch.arange(count) % len(train)
    pixels = torch.randint(0, 256, (count, side, side), dtype=torch.uint8)
    batch = Batch(pixels, torch.rand(count, DRAWS), places, places)
    return batch.pin_memory() if kit.device.type == "cuda" else batch


# -- The step alone --------------------------------------------------------------------------------------------------


def step(kit: Kit) -> Figures:
    """From uint8 images in memory to updated weights; peers have theirs ready. compile=true is measured from files."""
    s, train = kit.sizes, images_of(images.small(kit))
    first = s.networks[0]

    def ours(seconds: float, network: str, **settings: Any) -> Row:
        batch = settings.get("batch_size", s.batch)
        what = f"{network}, {s.side} px, batch {batch}"
        return Row(STEP, what, seconds, lambda: _our_step(kit, train, what, network=network, **settings))

    return measured(
        kit,
        [
            ours(14, first),
            Row(STEP, f"{first}, peers", 24, lambda: _peer_steps(kit, first)),
            ours(6, first, augmentation_type="none"),
            ours(8, first, deterministic=True),
            ours(16, first, batch_size=2 * s.batch),
            *(ours(18, network) for network in s.networks[1:]),
        ],
    )


def _peer_steps(kit: Kit, network: str) -> Figures:
    s = kit.sizes
    for name, work in peers.steps(kit, network):
        rate = repeated(kit, work, 0.5).per_second(s.batch)
        yield Figure(STEP, f"{network}, {s.side} px, batch {s.batch}", name, rate, note="its batch lies ready")
        del work
        free()


def _our_step(kit: Kit, train: SampleSet, what: str, **settings: Any) -> Figures:
    """Our step, named by what differs from the defaults."""
    names = [f"{k}={str(v).lower()}" for k, v in settings.items() if k not in ("network", "batch_size")]
    with our_trainer(kit, train, **settings) as trainer:
        batch = a_batch(kit, train, trainer.config.batch_size, kit.sizes.side)
        trainer.prepare_epoch()
        began = time.perf_counter()
        trainer.optimize(batch)
        kit.sync()
        first = time.perf_counter() - began
        window = repeated(kit, lambda: trainer.optimize(batch), 0.5)
    note = f"{kit.precision}, channels_last, AdamW; from uint8 images in memory; the first step took {first:.1f} s"
    yield Figure(STEP, what, ", ".join(["ours", *names]), window.per_second(len(batch.indices)), note=note)


# -- From files ------------------------------------------------------------------------------------------------------


@dataclass
class Waited:
    """Seconds that the trainer waited for images, while the clock ran."""

    trainer: Trainer
    start: float = 0.0
    total: float = 0.0

    def begin(self) -> None:
        self.start = self.trainer.meter.waited

    def end(self) -> None:
        self.total = self.trainer.meter.waited - self.start


def our_files(kit: Kit, folder: Path, network: str, **settings: Any) -> tuple[Window, float]:
    """An epoch of our Trainer until the clock stops; the window, and the share of it spent waiting for images."""
    with our_trainer(kit, images_of(folder), network=network, **settings) as trainer:
        waited, real = Waited(trainer), trainer.optimize
        window = Window(kit, trainer.steps_per_epoch, waited.begin, waited.end, _ahead(kit))

        def optimize(batch: Batch) -> torch.Tensor:
            loss = real(batch)
            if not window.counted and window.step():
                trainer.stop.signal = signal.SIGTERM
            return loss

        trainer.optimize = optimize  # type: ignore[method-assign]
        trainer.fit()
    return window, waited.total / max(window.seconds, 1e-9)


def _ahead(kit: Kit) -> int:
    """Batches that the workers hold ready when a slow first step ends."""
    return 2 * kit.sizes.workers if kit.sizes.workers > 1 else 0


def files(kit: Kit) -> Figures:
    """From JPEG files and from raw shards to updated weights, with each side's own augmentation."""
    s, first = kit.sizes, kit.sizes.networks[0]
    stored = f"from JPEGs of {s.stored} px"
    large = f"from JPEGs of {s.native[1]}x{s.native[0]} px"

    def ours(seconds: float, network: str, source: str, folder: Path, **settings: Any) -> Row:
        what = f"{network} {source}"
        return Row(FILES, what, seconds, lambda: _our_rows(kit, what, folder, network, **settings))

    def theirs(seconds: float, name: str) -> Row:
        what = f"{first} {stored}"
        return Row(FILES, what, seconds, lambda: _peer_epochs(kit, what, first, name), side=name)

    return measured(
        kit,
        [
            ours(18, first, stored, images.small(kit)),
            *(theirs(15, name) for name in peers.EPOCHS),
            ours(12, first, "from raw shards", images.packed(kit)),
            ours(14, first, large, images.native(kit)),
            ours(58, first, stored, images.small(kit), compile=kit.device.type == "cuda"),
            *(ours(20, network, stored, images.small(kit)) for network in s.networks[1:]),
        ],
    )


def _peer_epochs(kit: Kit, what: str, network: str, name: str) -> Figures:
    epoch = peers.EPOCHS[name](kit, images.small(kit), network)
    window = Window(kit, ahead=_ahead(kit))
    for _ in epoch:
        if window.step():
            break
    epoch.close()
    note = f"{kit.sizes.workers + 1} workers, its own augmentation"
    yield Figure(FILES, what, name, window.per_second(kit.sizes.batch), note=note, target="ours >= 2x")


def _our_rows(kit: Kit, what: str, folder: Path, network: str, **settings: Any) -> Figures:
    window, wait = our_files(kit, folder, network, **settings)
    side = ", ".join(["ours", *(f"{k}={str(v).lower()}" for k, v in settings.items())])
    note = f"{kit.precision}, xray augmentation, {kit.sizes.workers} workers; {wait:.1%} of the time waiting for images"
    goal = ">= 3000" if network == "resnet50" else ""
    yield Figure(FILES, what, side, window.per_second(kit.sizes.batch), note=note, target=goal)
    yield Figure(FILES, what, f"{side}: waiting for images", wait * 100, "%", target="< 5")


# -- Large images ----------------------------------------------------------------------------------------------------


def memory(kit: Kit) -> Figures:
    """Speed and memory of a step on large images, with and without activation checkpointing."""
    train = images_of(images.small(kit))
    side, batches = kit.sizes.large
    network = kit.sizes.networks[0]
    rows = []
    for count in batches:  # cuDNN tries its kernels at the first step: the larger the batch, the longer
        for checkpointing in (False, True):
            what = f"{network}, {side} px, batch {count}"
            work = partial(_large, kit, train, what, count, network, checkpointing)
            rows.append(Row(MEMORY, what, count * (0.3 if checkpointing else 0.7), work))
    return measured(kit, rows)


def _large(kit: Kit, train: SampleSet, what: str, count: int, network: str, checkpointing: bool) -> Figures:
    side = kit.sizes.large[0]
    name = "ours, activation_checkpointing=true" if checkpointing else "ours"
    settings = {"batch_size": count, "network": network, "activation_checkpointing": checkpointing, "side": side}
    free()
    try:
        with our_trainer(kit, train, **settings) as trainer:
            batch = a_batch(kit, train, count, side)
            trainer.prepare_epoch()
            window = repeated(kit, lambda: trainer.optimize(batch), 0.2, warm=4)
            peak = torch.cuda.max_memory_allocated(kit.device) / 2**30 if kit.device.type == "cuda" else 0.0
    except torch.OutOfMemoryError as error:
        yield Figure(MEMORY, what, name, None, note=f"out of memory: {str(error).splitlines()[0][:80]}")
        return
    yield Figure(MEMORY, what, name, window.per_second(count), note=f"{peak:.1f} GiB at most")
