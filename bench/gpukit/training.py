"""Training: our Trainer as a job has it, its step alone and its epoch from files, beside the peers."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from gpukit import images, peers
from gpukit.common import Figure, Figures, Kit, Window, free, repeated
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
    for network in s.networks:
        what = f"{network}, {s.side} px, batch {s.batch}"
        yield _our_step(kit, train, what, network=network)
        if network == s.networks[0]:
            yield _our_step(kit, train, what, network=network, augmentation_type="none")
        if network == s.networks[0]:
            for name, work in peers.steps(kit, network):
                rate = repeated(kit, work, 0.5).per_second(s.batch)
                yield Figure(STEP, what, name, rate, note="its batch lies ready")
                del work
                free()
            large = f"{network}, {s.side} px, batch {2 * s.batch}"
            yield _our_step(kit, train, large, network=network, batch_size=2 * s.batch)
            yield _our_step(kit, train, what, network=network, deterministic=True)


def _our_step(kit: Kit, train: SampleSet, what: str, **settings: Any) -> Figure:
    """A row of our step, named by what differs from the defaults."""
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
    return Figure(STEP, what, ", ".join(["ours", *names]), window.per_second(len(batch.indices)), note=note)


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
    stored = f"{first} from JPEGs of {s.stored} px"
    compiled = kit.device.type == "cuda"
    yield from _our_rows(kit, stored, images.small(kit), first)
    yield from _our_rows(kit, stored, images.small(kit), first, compile=compiled)
    for name, epoch in peers.epochs(kit, images.small(kit), first):
        window = Window(kit, ahead=_ahead(kit))
        for _ in epoch:
            if window.step():
                break
        note = f"{s.workers + 1} workers, its own augmentation"
        yield Figure(FILES, stored, name, window.per_second(s.batch), note=note, target="ours >= 2x")
        epoch.close()
        free()
    large = f"{first} from JPEGs of {s.native[1]}x{s.native[0]} px"
    yield from _our_rows(kit, large, images.native(kit), first)
    yield from _our_rows(kit, f"{first} from raw shards", images.packed(kit), first)
    for network in s.networks[1:]:
        yield from _our_rows(kit, f"{network} from JPEGs of {s.stored} px", images.small(kit), network)


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
    for network in kit.sizes.networks[:1]:
        for count in batches:
            for checkpointing in (False, True):
                what = f"{network}, {side} px, batch {count}"
                name = "ours, activation_checkpointing=true" if checkpointing else "ours"
                yield from _large(kit, train, what, name, count, network, checkpointing)


def _large(kit: Kit, train: SampleSet, what: str, name: str, count: int, network: str, checkpointing: bool) -> Figures:
    side = kit.sizes.large[0]
    settings = {"batch_size": count, "network": network, "activation_checkpointing": checkpointing, "side": side}
    free()
    try:
        with our_trainer(kit, train, **settings) as trainer:
            batch = a_batch(kit, train, count, side)
            trainer.prepare_epoch()
            window = _few(kit, lambda: trainer.optimize(batch))
            peak = torch.cuda.max_memory_allocated(kit.device) / 2**30 if kit.device.type == "cuda" else 0.0
    except torch.OutOfMemoryError as error:
        yield Figure(MEMORY, what, name, None, note=f"out of memory: {str(error).splitlines()[0][:80]}")
        return
    yield Figure(MEMORY, what, name, window.per_second(count), note=f"{peak:.1f} GiB at most")


def _few(kit: Kit, work: Callable[[], object]) -> Window:
    return repeated(kit, work, 0.2)
