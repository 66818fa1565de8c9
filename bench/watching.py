"""What observers cost: a step of the Trainer with the health monitor, or with the profiler outside its active steps,
against a step without observers.

    python bench/watching.py [--size 96] [--batch 16] [--steps 100]

The sides take turns, step by step, and CPU time is counted, so other work on the machine matters little. Aim: under 2 %
for the profiler outside active steps.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("bench", "launch", "source_dir")]

from thorax import models  # noqa: E402
from thorax.config import TrainingConfig  # noqa: E402
from thorax.data.formats import read_channel  # noqa: E402
from thorax.data.loading import BatchRequest, ImageDataset  # noqa: E402
from thorax.data.parts import preprocessing  # noqa: E402
from thorax.data.samples import label_space, sample_set  # noqa: E402
from thorax.job import Job  # noqa: E402
from thorax.tracking.factory import build_observer  # noqa: E402
from thorax.tracking.progress import Progress  # noqa: E402
from thorax.training.checkpoints import Checkpoints  # noqa: E402
from thorax.training.inputs import Hardware, Monitoring, TrainingData  # noqa: E402
from thorax.training.loss_log import LossLog  # noqa: E402
from thorax.training.trainer import Trainer  # noqa: E402

CPU = torch.device("cpu")


class Side:
    """A trainer that makes steps on one batch in memory, with the observers that `settings` turn on."""

    def __init__(self, images: Path, folder: Path, size: int, batch: int, settings: Mapping[str, Any]) -> None:
        config = TrainingConfig(
            network="resnet18", image_shape=(1, size, size), batch_size=batch, log_seconds=1e9, **settings
        )
        listing = read_channel("train", images, "folder")
        samples = sample_set("train", listing, label_space(listing, (), None))
        folder.mkdir()
        job = Job.from_environment({"model_dir": str(folder / "model")}, {})
        self.observer = build_observer(config, job, CPU, 0, lambda line: None)
        net = models.build("resnet18", 1, 1)
        self.trainer = Trainer(
            config,
            net,
            TrainingData(samples, samples, preprocessing(config)),
            Hardware(),
            Checkpoints(folder, {}, print),
            Monitoring(observer=self.observer, log=lambda line: None),
        )
        self.trainer.prepare_epoch()
        if self.observer is not None:
            self.observer.start(0, 10_000)
        self.losses = LossLog(self.trainer.state, self.trainer.hardware, self.observer)
        self.progress = Progress("", 1, shown=False)
        self.batch = ImageDataset(samples, self.trainer.preprocessing)[BatchRequest(np.arange(batch), epoch=0)]

    def step(self) -> float:
        """Makes one; returns the CPU seconds that this process spent."""
        start = time.process_time()
        self.trainer.train_step(self.batch, self.losses, self.progress)
        return time.process_time() - start


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--size", type=int, default=96, help="pixels a side (default: 96)")
    p.add_argument("--batch", type=int, default=16, help="images per step (default: 16)")
    p.add_argument("--steps", type=int, default=100, help="steps of each side (default: 100)")
    a = p.parse_args()
    torch.set_num_threads(1)
    from bench import prepare

    with TemporaryDirectory(prefix="bench-") as scratch:
        root = Path(scratch)
        images = prepare(root / "images", None, a.batch, (a.size, a.size))
        asked: dict[str, dict[str, Any]] = {
            "nothing": {},
            "nothing, again": {},
            "profiler, outside active steps": {"profiler": True},
            "health monitor, every 10th step saved": {"debugging": True, "debug_save_interval": 10},
            "health monitor, every step saved": {"debugging": True, "debug_save_interval": 1},
        }
        sides = {
            name: Side(images, root / str(k), a.size, a.batch, settings)
            for k, (name, settings) in enumerate(asked.items())
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for side in sides.values():
            for _ in range(30):  # warms up, and past the profiler's active steps
                side.step()
        for _ in range(a.steps):
            for name, side in sides.items():
                seconds[name].append(side.step())
        for side in sides.values():
            if side.observer is not None:
                side.observer.close("stopped")
    print(
        f"ResNet-18, {a.size} px, batch {a.batch}, one thread; means of {a.steps} steps, a step of each side in turn\n"
    )
    print("| observed by | CPU ms a step | over nothing |\n|---|---:|---:|")
    for name, took in seconds.items():
        print(f"| {name} | {mean(took) * 1000:.1f} | {mean(took) / mean(seconds['nothing']) - 1:+.1%} |")


if __name__ == "__main__":
    main()
