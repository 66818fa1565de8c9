"""ResNet-18 training on the CPU: our Trainer's step and whole loop against a plain step and a loop built from timm's parts."""

from __future__ import annotations

import gc
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import timm
import torch
import torch.nn.functional as F
import torchvision
from reading import Row, compare, timed
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.optim import create_optimizer_v2

from thorax import networks
from thorax.config import TrainingConfig
from thorax.data.formats import read_channel
from thorax.data.loading import Batch, Films
from thorax.data.parts import preprocessing
from thorax.data.samples import SampleSet, label_space, sample_set
from thorax.job import Process
from thorax.training.checkpoints import Checkpoints
from thorax.training.precision import resolve
from thorax.training.stopping import Stop
from thorax.training.trainer import Trainer

CPU = torch.device("cpu")


def films_of(folder: Path) -> SampleSet:
    """The films of a folder per class."""
    listing = read_channel("train", folder, "folder")
    return sample_set("train", listing, label_space(listing, (), None))


def trainer(films: SampleSet, scratch: Path, *, size: int, batch: int, workers: int, augmentation: str = "xray") -> Trainer:
    """Our trainer as a job has it: all defaults but network, size, batch and one epoch. Validation is one batch."""
    config = TrainingConfig(network="resnet18", image_shape=(1, size, size), batch_size=batch, epochs=1, augmentation_type=augmentation)
    net = networks.build(config.network, config.channels, len(films.space.outputs))
    checkpoints = Checkpoints(scratch, {}, lambda text: None)
    ends = [*range(batch // 2), *range(len(films) - batch // 2, len(films))]
    return Trainer(config, Process(), films, films.subset(ends, "validation"), preprocessing(config), checkpoints, net, device=CPU,
                   precision=resolve("auto", CPU), workers=workers, stop=Stop(), log=lambda text: None)  # fmt: skip


# -- One step, films in memory -------------------------------------------------------------------------------------


class PlainStep:
    """What a tutorial writes: torchvision's network, float32, NCHW, AdamW. Its batch is ready-made float32."""

    def __init__(self, films: torch.Tensor, targets: torch.Tensor) -> None:
        self.net = torchvision.models.resnet18(num_classes=targets.shape[1]).train()
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3)
        self.x = ((films.float() / 255 - 0.5) / 0.25).unsqueeze(1).repeat(1, 3, 1, 1)
        self.targets = targets

    def __call__(self) -> float:
        self.optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(self.net(self.x), self.targets)
        loss.backward()
        self.optimizer.step()
        return loss.item()


class OurStep:
    """The Trainer's own step, from uint8 films to updated weights: augmentation, normalisation, bfloat16, channels last."""

    def __init__(self, films: SampleSet, batch: Batch, scratch: Path, size: int, augmentation: str) -> None:
        self.batch = batch
        self.trainer = trainer(films, scratch, size=size, batch=len(batch.films), workers=0, augmentation=augmentation)
        self.trainer._set_trained_stages()
        networks.train_mode(self.trainer.net)

    def __call__(self) -> float:
        return self.trainer._step(self.batch).item()


def measure_step(folder: Path, *, size: int, batch: int, rounds: int, steps: int) -> list[Row]:
    """Step against step: without augmentation, where both do the same, and with our default one, which the peer lacks."""
    films = films_of(folder)
    shape = preprocessing(TrainingConfig(network="resnet18", image_shape=(1, size, size)))
    order = torch.randperm(len(films), generator=torch.Generator().manual_seed(0))[:batch].numpy()
    one = Films(films, shape)[0, order]
    with TemporaryDirectory() as scratch:
        plain = PlainStep(one.films, torch.from_numpy(films.targets)[one.indices])
        bare, augmented = (OurStep(films, one, Path(scratch), size, name) for name in ("none", "xray"))
        seconds: list[list[float]] = [[], [], []]
        for k in range(rounds + 1):  # round 0 warms up
            for step, told in zip((bare, plain, augmented), seconds, strict=True):
                took = timed(lambda step=step: [step() for _ in range(steps)])  # type: ignore[misc]
                if k:
                    told.append(took)
    what, peer = f"Training step, ResNet-18, {size} px, batch {batch}", "plain step: torchvision, float32, NCHW, AdamW"
    return [
        compare(what, peer, seconds[0], seconds[1], steps * batch, "3x", "no augmentation on either side"),
        compare(what + ", ours with augmentation", peer, seconds[2], seconds[1], steps * batch, "", "ours augments (xray), the peer does not"),
    ]


# -- The whole loop, films from disk -------------------------------------------------------------------------------


class TimmLoop:
    """One epoch built from timm's parts with the defaults of its train script; one logit, so the loss is BCE."""

    def __init__(self, folder: Path, *, size: int, batch: int, workers: int) -> None:
        self.net = timm.create_model("resnet18", num_classes=1).train()
        data = resolve_data_config({"input_size": (3, size, size)}, model=self.net)
        self.loader = create_loader(
            create_dataset("", root=str(folder), is_training=True, batch_size=batch), input_size=data["input_size"], batch_size=batch,
            is_training=True, re_mode="pixel", color_jitter=0.4, interpolation="random", mean=data["mean"], std=data["std"],
            num_workers=workers, device=CPU, persistent_workers=workers > 0,
        )  # fmt: skip
        self.optimizer = create_optimizer_v2(self.net, opt="sgd", lr=0.1 * batch / 256, weight_decay=2e-5, momentum=0.9)

    def __call__(self) -> None:
        for x, target in self.loader:
            loss = F.binary_cross_entropy_with_logits(self.net(x), target.float().unsqueeze(1))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()


def measure_loop(folder: Path, *, size: int, batch: int, workers: int, rounds: int) -> list[Row]:
    """One epoch against one epoch over the same films, each with loader, network and optimiser made afresh."""
    films = films_of(folder)
    count = len(films) // batch * batch
    ours, theirs, waits = [], [], []
    for k in range(rounds + 1):  # round 0 warms up
        with TemporaryDirectory() as scratch:
            one = trainer(films, Path(scratch), size=size, batch=batch, workers=workers)
            one.fit()
        peer = TimmLoop(folder, size=size, batch=batch, workers=workers)
        took = timed(peer)
        if k:
            row = one.state.history[-1]
            ours.append(count / row["images_per_second"])
            theirs.append(took)
            waits.append(row["data_wait"])
        del peer
        gc.collect()  # ends timm's persistent workers
    what = f"Training epoch with loading, ResNet-18, {size} px, batch {batch}"
    wait = median(waits)
    return [
        compare(what, f"timm {timm.__version__}: its model, loader and optimiser, train script's defaults", ours, theirs, count, "2x", "each with its default augmentation"),
        Row(f"Share of that epoch spent waiting for films, {workers} worker(s)", "", wait, 0.0, "share", wait, min(waits), max(waits), "< 5 %"),
    ]  # fmt: skip
