"""A learning rate by trying: steps at a rate that rises from tiny to too large, and where the loss fell fastest."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax.job import Job
from thorax.run import build, trainer_of
from thorax.run_data import load
from thorax.run_setup import prepare
from thorax.tracking.progress import Progress
from thorax.training import distributed
from thorax.training.optimizers import set_rate
from thorax.training.stopping import signals_restored

#: The rates of the first and the last step, and how much of the smoothed loss each step keeps.
LOWEST, HIGHEST, KEPT = 1e-6, 1.0, 0.9
#: It ends where the smoothed loss is so many times its lowest; and it takes so many steps at least to say anything.
TOO_HIGH, FEWEST = 4.0, 20
#: The loss has fallen where it is below this share of its first values.
FELL = 0.9


@dataclass(frozen=True)
class RateCurve:
    """Losses over rising rates.

    Attributes:
        rates: (N,) rising.
        losses: (N,) of the steps, smoothed.
    """

    rates: Sequence[float]
    losses: Sequence[float]

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss falls fastest over the logarithm of the rate, before its lowest point
        (Smith, "Cyclical learning rates for training neural networks", 2017).

        Raises:
            ThoraxError: there are too few steps, or the loss did not fall by a tenth.
        """
        lowest = int(np.argmin(self.losses))
        first = min(self.losses[: max(3, len(self.losses) // 10)], default=0.0)
        if len(self.losses) < FEWEST or not self.losses[lowest] < FELL * first:
            raise ThoraxError(
                f"the loss did not clearly fall over {len(self.losses)} steps; give more --steps or a larger"
                " batch_size, check images and labels"
            )
        slopes = np.gradient(np.asarray(self.losses[: lowest + 1]), np.log(self.rates[: lowest + 1]))
        return float(self.rates[int(np.argmin(slopes))])

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss is lowest: already too high to train with."""
        return float(self.rates[int(np.argmin(self.losses))])

    def png(self) -> bytes:
        """The curve, with the steepest point marked."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.rates, self.losses)
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss, smoothed")
        with contextlib.suppress(ThoraxError):  # the curve shows that there is nothing to suggest
            axes.axvline(self.steepest, linestyle="--", label=f"suggested: {self.steepest:.2g}")
            axes.legend(frameon=False)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=110)
        return out.getvalue()


def smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential means, corrected for their start at 0."""
    found, mean = [], 0.0
    for k, loss in enumerate(losses, 1):
        mean = KEPT * mean + (1 - KEPT) * loss
        found.append(mean / (1 - KEPT**k))
    return found


def lr_find(
    config: TrainingConfig, channels: Mapping[str, Path | str], output: Path | str, steps: int = 100
) -> RateCurve:
    """Trains up to `steps` steps of a fresh network at rising rates, in this process; nothing is kept but the plot.

    Args:
        config: the run's; its learning rate and schedule are not used.
        channels: train, and others by name.
        output: rates.png goes here.
        steps: more give a smoother curve; at least 20.

    Raises:
        ThoraxError: as `thorax.train`; the loss never fell.
    """
    if steps < FEWEST:
        raise ThoraxError(f"--steps {steps} must be {FEWEST} or more")
    quiet: dict[str, Any] = {"wandb_tracking": "false", "tensorboard": False, "debugging": False, "profiler": False}
    config = dataclasses.replace(config, **quiet, precision_dtype="float32", early_stopping=False)
    job = Job.below(Path(output), channels)
    with signals_restored():
        run = prepare(job, config, distributed.device_of(job.process), readable=True)
        data = load(run)
        trainer = trainer_of(run, data, build(run, data), None)
        trainer.prepare_epoch()
        rates, losses, best = [], [], math.inf
        with Progress("finding a learning rate", steps, "step") as progress:
            for k, batch in enumerate(islice(trainer.reader.training(steps), steps)):
                if batch.problem:
                    raise ThoraxError(f"{batch.problem}; fix or remove it, or set skip_corrupt=true")
                rate = LOWEST * (HIGHEST / LOWEST) ** (k / (steps - 1))
                set_rate(trainer.optimizer, rate)
                count = max(trainer.loss.count(trainer.targets[batch.global_indices]), 1)
                loss = float(trainer.optimize(batch)) / count
                trainer.state.global_step += 1
                if not math.isfinite(loss):
                    break
                rates.append(rate)
                losses.append(loss)
                now = smoothed(losses)[-1]
                best = min(best, now)
                progress.step(loss)
                if len(losses) > FEWEST and now > TOO_HIGH * best:
                    break
    curve = RateCurve(rates, smoothed(losses))
    write_whole(curve.png(), job.output_dir / "rates.png", "plot")
    return curve
