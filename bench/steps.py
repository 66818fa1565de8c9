"""Training ResNet-18 on the CPU.

Our Trainer against a step written plainly, and against an epoch built from timm's parts.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.data import create_dataset, create_loader, resolve_data_config  # type: ignore[attr-defined]
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]

from fair import Row, compare, timed
from thorax import models
from thorax.config import TrainingConfig
from thorax.data.formats import read_channel
from thorax.data.loading import Batch, BatchRequest, ImageDataset
from thorax.data.parts import preprocessing
from thorax.data.samples import SampleSet, label_space, sample_set
from thorax.training.checkpoints import Checkpoints
from thorax.training.inputs import Hardware, Monitoring, TrainingData
from thorax.training.compute import Memory, choose
from thorax.training.trainer import Trainer

CPU = torch.device("cpu")


def our_trainer(
    images: SampleSet, scratch: Path, size: int, batch: int, workers: int = 0, augmentation: str = "xray"
) -> Trainer:
    """Our Trainer as a job has it: all defaults but network, size, batch and one epoch.

    Validation is a single batch.
    """
    config = TrainingConfig(
        network="resnet18",
        image_shape=(1, size, size),
        batch_size=batch,
        epochs=1,
        augmentation_type=augmentation,
        log_seconds=1e9,
    )
    net = models.build(config.network, config.channels, len(images.space.outputs))
    threads = torch.get_num_threads()
    validation = images.subset([*range(batch // 2), *range(len(images) - batch // 2, len(images))], "validation")
    data = TrainingData(images, validation, preprocessing(config))
    hardware, reason = choose(
        config, net, data, Hardware(workers=workers, threads=threads), Memory(lambda: None, scratch)
    )
    return Trainer(config, net, data, hardware, Checkpoints(scratch, {}, print), Monitoring(log=lambda line: None))


def images_of(folder: Path) -> SampleSet:
    listing = read_channel("train", folder, "folder")
    return sample_set("train", listing, label_space(listing, (), None))


# -- One step, images in memory -------------------------------------------------------------------------------------


def our_step(trainer: Trainer, batch: Batch) -> Callable[[], object]:
    """From uint8 images to updated weights.

    Augmentation, normalisation, bfloat16 where the CPU has it, channels last.
    """
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


def measure_step(folder: Path, *, size: int, batch: int, rounds: int) -> list[Row]:
    """Step against step.

    Without augmentation, where both do the same, and with our default one, which the peer lacks.
    """
    images = images_of(folder)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:batch].numpy()
    with TemporaryDirectory() as scratch:
        bare, augmented = (
            our_trainer(images, Path(scratch), size, batch, augmentation=name) for name in ("none", "xray")
        )
        one = ImageDataset(images, bare.preprocessing)[BatchRequest(order, epoch=0)]
        sides = [
            our_step(bare, one),
            plain_step(one.images, torch.from_numpy(images.targets)[one.indices]),
            our_step(augmented, one),
        ]
        seconds: list[list[float]] = [[], [], []]
        for k in range(rounds + 1):
            for side, told in zip(sides, seconds, strict=True):
                took = timed(side)
                if k:  # round 0 warms up
                    told.append(took)
    what, peer = f"Training step, ResNet-18, {size} px, batch {batch}", "plain step: torchvision, float32, NCHW, AdamW"
    return [
        compare(what, peer, batch, seconds[0], seconds[1], target=">= 3x", note="no augmentation on either side"),
        compare(
            f"{what}, augmented", peer, batch, seconds[2], seconds[1], note="ours augments (xray), the peer does not"
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


def measure_epoch(folder: Path, *, size: int, batch: int, workers: int, rounds: int) -> list[Row]:
    """Epoch against epoch over the same images; network, optimizer, loader and workers are new on both sides."""
    images = images_of(folder)
    count = len(images) // batch * batch
    history, theirs = [], []
    for k in range(rounds + 1):
        with TemporaryDirectory() as scratch:
            trainer = our_trainer(images, Path(scratch), size, batch, workers)
            trainer.fit()
        took = timed(timm_epoch(folder, size=size, batch=batch, workers=workers))
        if k:  # round 0 warms up
            history.append(trainer.state.history[-1])
            theirs.append(took)
        gc.collect()  # ends timm's workers
    what, peer = (
        f"Training epoch with loading, ResNet-18, {size} px, batch {batch}",
        f"timm {timm.__version__}, its train script's defaults",
    )
    ours, waits = [count / row["images_per_second"] for row in history], [row["data_wait"] for row in history]
    return [
        compare(what, peer, count, ours, theirs, target=">= 2x", note="each with its default augmentation"),
        Row(
            f"Share of our epoch spent waiting for images, {workers} worker(s)",
            f"{median(waits):.1%} ({min(waits):.1%} to {max(waits):.1%})",
            "",
            "",
            "< 5 %",
        ),
    ]
