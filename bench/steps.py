"""Training ResNet-18 on the CPU.

Our Trainer against a step written plainly, and against an epoch built from timm's parts.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.data import create_dataset, create_loader, resolve_data_config  # type: ignore[attr-defined]
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]

from fair import Row, alternate, compare, rounds, spread, timed
from thorax import models
from thorax.config import TrainingConfig
from thorax.data.formats import read_channel
from thorax.data.loading import Batch, BatchRequest, ImageDataset
from thorax.data.parts import preprocessing
from thorax.data.samples import SampleSet, label_space, sample_set
from thorax.training.checkpoints import Checkpoints
from thorax.training.compute import Memory, choose
from thorax.training.inputs import Hardware, Monitoring, TrainingData
from thorax.training.probe import Compute
from thorax.training.trainer import Trainer

CPU = torch.device("cpu")
#: Bare steps beside each epoch, and rounds of epochs, at least.
BARE, LEAST = 4, 3


@dataclass(frozen=True)
class Setup:
    """What both sides train on.

    Attributes:
        scratch: a folder of this run alone.
        size: pixels a side.
        batch: images of a step.
        workers: processes that read images.
    """

    images: SampleSet
    scratch: Path
    size: int
    batch: int
    workers: int = 0

    def trainer(self, augmentation: str = "xray", epochs: int = 1, **settings: Any) -> Trainer:
        """Our Trainer as a job has it: all defaults but network, size, batch and epochs, and the given settings.

        What precision_dtype=auto measures is measured once. Validation is a single batch.
        """
        config = TrainingConfig(
            network="resnet18",
            image_shape=(1, self.size, self.size),
            batch_size=self.batch,
            epochs=epochs,
            augmentation_type=augmentation,
            log_seconds=1e9,
            threads=torch.get_num_threads(),
            **settings,
        )
        net = models.build(config.network, config.channels, len(self.images.space.outputs))
        count, half = len(self.images), self.batch // 2
        validation = self.images.subset([*range(half), *range(count - half, count)], "validation")
        data = TrainingData(self.images, validation, preprocessing(config))
        hardware = Hardware(workers=self.workers, threads=torch.get_num_threads())
        hardware, _ = choose(config, net, data, hardware, Memory(lambda: None, self.scratch))
        checkpoints = Checkpoints(Path(mkdtemp(dir=self.scratch)), {}, print)
        return Trainer(config, net, data, hardware, checkpoints, Monitoring(log=lambda line: None))

    def batch_of(self, trainer: Trainer) -> Batch:
        """Images in memory."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(0))[: self.batch].numpy()
        return ImageDataset(self.images, trainer.preprocessing)[BatchRequest(order, epoch=0)]


def images_of(folder: Path) -> SampleSet:
    listing = read_channel("train", folder, "folder")
    return sample_set("train", listing, label_space(listing, (), None))


# -- One step, images in memory -------------------------------------------------------------------------------------


def our_step(trainer: Trainer, batch: Batch) -> Callable[[], object]:
    """From uint8 images to updated weights: augmentation, normalisation, forward and backward pass, optimizer."""
    trainer.prepare_epoch()
    return lambda: trainer.optimize(batch).item()


def plain_step(images: torch.Tensor, targets: torch.Tensor) -> Callable[[], object]:
    """As a tutorial writes it, three channels, its float32 batch ready-made."""
    net = torchvision.models.resnet18(num_classes=targets.shape[1]).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    x = ((images.float() / 255 - 0.5) / 0.25).unsqueeze(1).repeat(1, 3, 1, 1)

    def step() -> None:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(net(x), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()

    return step


def measure_step(folder: Path, *, size: int, batch: int, limit: float) -> list[Row]:
    """Step against step, in about `limit` seconds.

    Without augmentation, where both do the same, and with our default one, which the peer lacks; and what auto chose
    against the float32 that it could have had.
    """
    with TemporaryDirectory() as scratch:
        setup = Setup(images_of(folder), Path(scratch), size, batch)
        bare, augmented = setup.trainer("none"), setup.trainer()
        float32 = setup.trainer("none", precision_dtype="float32", channels_last=True)
        one = setup.batch_of(bare)
        plain = plain_step(one.images, torch.from_numpy(setup.images.targets)[one.indices])
        sides = our_step(bare, one), plain, our_step(augmented, one), our_step(float32, one)
        ours, peer, with_augmentation, as_float32 = alternate(*sides, seconds=limit)
    chosen = Compute.of(bare.hardware)
    what, name = f"Training step, ResNet-18, {size} px, batch {batch}", "plain step: torchvision, float32, NCHW, AdamW"
    note = "no augmentation on either side"
    return [
        compare(what, name, batch, ours, peer, target=">= 1.15x; AMX: 3.5x", note=f"{chosen}; {note}"),
        compare(f"{what}, augmented", name, batch, with_augmentation, peer, note="ours augments, the peer does not"),
        compare(
            f"{what}, auto",
            "ours, float32, channels_last",
            batch,
            ours,
            as_float32,
            target="not below 1",
            note=f"{chosen}; {note}",
        ),
    ]


# -- A whole epoch, images from disk --------------------------------------------------------------------------------


def timm_epoch(folder: Path, *, size: int, batch: int, workers: int) -> Callable[[], object]:
    """One epoch of timm's model, loader and optimiser with the defaults of its train script.

    One logit, so the loss is BCE.
    """
    net = timm.create_model("resnet18", num_classes=1).train()
    data = resolve_data_config({"input_size": (3, size, size)}, model=net)  # type: ignore[no-untyped-call]
    loader = create_loader(
        create_dataset("", root=str(folder), is_training=True, batch_size=batch),
        input_size=data["input_size"],
        batch_size=batch,
        is_training=True,
        re_mode="pixel",
        color_jitter=0.4,
        interpolation="random",
        mean=data["mean"],
        std=data["std"],
        num_workers=workers,
        device=CPU,
        persistent_workers=workers > 0,
    )
    optimizer = create_optimizer_v2(net, opt="sgd", lr=0.1 * batch / 256, weight_decay=2e-5, momentum=0.9)

    def epoch() -> None:
        for x, target in loader:
            loss = F.binary_cross_entropy_with_logits(net(x), target.float().unsqueeze(1))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()

    return epoch


def measure_epoch(folder: Path, *, size: int, batch: int, workers: int, limit: float) -> list[Row]:
    """Epoch against epoch over the same images, in about `limit` seconds; network, optimizer, loader and workers are
    new on both sides. Ours goes on for a second epoch, which starts nothing anew: its speed is compared with bare steps
    of ours, images in memory and not augmented, half of them before our epochs, half after them, and their mean, as an
    epoch is the mean of its steps.
    """
    ours: list[float] = []
    theirs: list[float] = []
    shares: list[float] = []
    waits: list[float] = []
    with TemporaryDirectory() as scratch:
        setup = Setup(images_of(folder), Path(scratch), size, batch, workers)
        count = len(setup.images) // batch * batch
        alone = setup.trainer("none")
        step = our_step(alone, setup.batch_of(alone))
        step()
        for _ in rounds(limit, least=LEAST):
            trainer = setup.trainer(epochs=2)
            alone_for = timed(lambda: [step() for _ in range(BARE // 2)])
            trainer.fit()
            alone_for += timed(lambda: [step() for _ in range(BARE // 2)])
            first, second = trainer.state.history
            ours.append(count / first["images_per_second"])
            shares.append(second["images_per_second"] * alone_for / (BARE // 2 * 2) / batch)
            waits.append(first["data_wait"])
            theirs.append(timed(timm_epoch(folder, size=size, batch=batch, workers=workers)))
            gc.collect()  # ends timm's workers
    what = f"Training epoch with loading, ResNet-18, {size} px, batch {batch}"
    timms = f"timm {timm.__version__}, its train script's defaults"
    chosen = Compute.of(alone.hardware)
    return [
        compare(
            what, timms, count, ours, theirs, target=">= 1.15x; AMX: 3x", note=f"{chosen}; each side's own augmentation"
        ),
        Row("Our second epoch's speed, of our bare step's", *_share(shares), target=">= 95 %", note=str(chosen)),
        Row(f"Share of our first epoch spent waiting for images, {workers} worker(s)", *_share(waits), target="< 5 %"),
    ]


def _share(values: list[float]) -> tuple[str, str, str]:
    """Ours, and nothing for peer and ratio."""
    low, high = spread(values)
    return f"{median(values):.1%} ({low:.1%} to {high:.1%})", "", ""
