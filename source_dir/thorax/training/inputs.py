"""What a Trainer works with, in three groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from thorax.data.images import Preprocessing
from thorax.data.samples import SampleSet
from thorax.job import Process
from thorax.tracking.observers import Observer
from thorax.tracking.progress import say
from thorax.training.stopping import Stop


@dataclass(frozen=True)
class TrainingData:
    """The images of a run.

    Attributes:
        train: the images that the network is fitted to.
        validation: the images that choose the best epoch.
        preprocessing: how images are prepared.
        keep_last: keep the last epoch and not the best, since validation chooses nothing.
    """

    train: SampleSet
    validation: SampleSet
    preprocessing: Preprocessing
    keep_last: bool = False


@dataclass(frozen=True)
class Hardware:
    """Where and how to compute.

    Attributes:
        device: this process's.
        precision: float32, float16 or bfloat16.
        channels_last: the memory layout; false is contiguous.
        workers: processes that read images.
        threads: of this process, for arithmetic on the CPU.
        process: rank and world size.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "float32"
    channels_last: bool = True
    workers: int = 0
    threads: int = 1
    process: Process = field(default_factory=Process)


@dataclass(frozen=True)
class Monitoring:
    """What stops and what follows a run.

    Attributes:
        stop: asked after every step whether to save and end.
        observer: is called at each event; None: nothing follows the run, and a step costs nothing for it.
        log: takes whole lines (of the main process).
        hour_price: dollars an hour of all machines together; None: not known.
    """

    stop: Stop = field(default_factory=Stop)
    observer: Observer | None = None
    log: Callable[[str], None] = say
    hour_price: float | None = None
