"""The measurement behind precision_dtype=auto: training steps of the run's own network, timed way by way."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from thorax.models.timing import MARGIN, Clock, best_times, fastest, timed
from thorax.text import counted
from thorax.training.inputs import Hardware
from thorax.training.losses import Loss
from thorax.training.precision import autocast

#: The loss of a lower precision may differ from float32's by this share of it, and by as much again.
TOLERANCE = 0.02
#: float16's gradients are scaled by this, well below what the gradient scaler ends at.
_SCALE = 1024.0
#: The whole measurement has about so many steps.
_STEPS = 12
#: The timed steps may take this share of the run's own time; a run of fewer seconds is not measured: beside them each
#: way has a first step, and what the run could win is not much more.
SHARE, SHORT_RUN = 0.05, 4.0


@dataclass(frozen=True)
class Compute:
    """One way to compute.

    Attributes:
        precision: float32, float16 or bfloat16.
        channels_last: the memory layout; false is contiguous.
        threads: of this process, for arithmetic on the CPU.
    """

    precision: str = "float32"
    channels_last: bool = True
    threads: int = 1

    @classmethod
    def of(cls, hardware: Hardware) -> Compute:
        return cls(hardware.precision, hardware.channels_last, hardware.threads)

    @property
    def words(self) -> tuple[str, ...]:
        return self.precision, "channels_last" if self.channels_last else "contiguous", counted(self.threads, "thread")

    def __str__(self) -> str:
        return ", ".join(self.words)

    def unlike(self, other: Compute) -> str:
        """Those words that differ from the other's."""
        return ", ".join(mine for mine, theirs in zip(self.words, other.words, strict=True) if mine != theirs)


@dataclass(frozen=True)
class Ways:
    """What may be chosen of each, the usual first. float32 is the reference where it is among the precisions.

    Attributes:
        short: the precision that is taken where none is faster by more than noise; empty: the usual one.
    """

    precisions: tuple[str, ...]
    layouts: tuple[bool, ...]
    threads: tuple[int, ...]
    short: str = ""

    @property
    def usual(self) -> Compute:
        return Compute(self.precisions[0], self.layouts[0], self.threads[0])

    @property
    def single(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.precisions) == len(self.layouts) == len(self.threads) == 1


@dataclass(frozen=True)
class Measurement:
    """The way that was chosen, and the figures in words.

    Attributes:
        worth: false where the run is too short: it is the usual way, and says nothing of other runs.
    """

    compute: Compute
    figures: str
    worth: bool = True


@dataclass(frozen=True)
class Probe:
    """What is measured: forward and backward pass of a network on images of noise.

    Attributes:
        net: with its starting weights; copies of it are used.
        loss: the run's.
        shape: (channels, height, width) of an image.
        targets: (n, L) float32 of as many images as the run has in a forward pass.
        device: where it is measured.
        pixels: of all images that the run will see, each as often as it sees it.
        whole: each step has all images in full size, which a GPU's kernels need to be told apart.
        clock: what the time is read from.
    """

    net: nn.Module
    loss: Loss
    shape: tuple[int, ...]
    targets: torch.Tensor
    device: torch.device
    pixels: float = float("inf")
    whole: bool = False
    clock: Clock = time.perf_counter

    def measure(self, ways: Ways, seconds: float) -> Measurement:
        """Takes the fastest threads, then precision, then layout; each only where it is faster by more than noise.

        A step's first run does not count: it loads libraries, makes a GPU's context and chooses kernels. Weights, batch
        norm statistics, torch's random numbers and its threads are as before.

        Args:
            seconds: about as long as the timed steps may take, but no more than SHARE of the run; they have fewer and
                smaller images where they would be too long, but for `whole`.
        """
        start = self.clock()
        with _undisturbed(self.device):
            rows, halvings = len(self.targets), 0
            if not self.whole:
                rows, halvings, took = self._size(ways.usual, seconds / _STEPS)
                height, width = (side >> halvings for side in self.shape[1:])
                run = took * self.pixels / (rows * height * width)
                if run < SHORT_RUN:
                    why = f"not measured: the run's steps take about {run:.1f} s"
                    return Measurement(ways.usual, why, worth=False)
                seconds = min(seconds, SHARE * run)
            while True:
                trial = _Trial(self, ways.usual, rows, halvings)
                try:
                    trial.run(ways, seconds / 6)
                    break
                except torch.OutOfMemoryError:  # two networks at once; the run itself has one
                    if rows == 1:
                        raise
                    rows //= 2
        return Measurement(trial.best, trial.figures(self.clock() - start))

    def _size(self, way: Compute, seconds: float) -> tuple[int, int, float]:
        """Images of a step, how often their sides are halved, so that it takes at most about `seconds`; its seconds.

        From small to large by the clock: what a step takes beside its images is not counted once for each of them.
        """
        rows, (height, width) = len(self.targets), self.shape[1:]
        smallest = max(64, getattr(getattr(self.net, "spec", None), "smallest_side", 32))
        size = min(2, rows), max(0, (min(height, width) // smallest).bit_length() - 1)
        try:
            took = self._once(way, size)
        except (AssertionError, RuntimeError, ValueError):  # a network of one size alone
            size = size[0], 0
            took = self._once(way, size)
        while took < seconds / 2 and size != (rows, 0):
            larger = (size[0], size[1] - 1) if size[1] else (min(2 * size[0], rows), 0)
            longer = self._once(way, larger)
            if longer > seconds:
                break
            size, took = larger, longer
        return *size, took

    def _once(self, way: Compute, size: tuple[int, int]) -> float:
        """Seconds of a step that has run once before."""
        step = _Step(self, way, *size)
        step()
        return timed(step, self.clock)


class _Step:
    """A training step without its optimizer, on a copy of the network."""

    def __init__(self, probe: Probe, way: Compute, rows: int, halvings: int) -> None:
        self.way, self.loss, self.device = way, probe.loss, probe.device
        self.layout = torch.channels_last if way.channels_last else torch.contiguous_format
        self.net = copy.deepcopy(probe.net).train()
        self.net = self.net.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        self.targets = probe.targets[:rows].to(self.device)
        channels, height, width = probe.shape
        noise = torch.randn(rows, channels, height >> halvings, width >> halvings, generator=_generator())
        self.x = noise.to(self.device).contiguous(memory_format=self.layout)
        self.result = float("nan")

    def __call__(self) -> None:
        torch.set_num_threads(self.way.threads)
        torch.manual_seed(0)  # the same dropout each time
        self.net.zero_grad(set_to_none=True)
        with autocast(self.way.precision, self.device):
            logits = self.net(self.x)
        loss = self.loss.sum(logits, self.targets) / max(self.loss.count(self.targets.cpu()), 1)
        (loss * (_SCALE if self.way.precision == "float16" else 1.0)).backward()  # type: ignore[no-untyped-call]
        self.result = float(loss.detach())
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def problem(self, reference: float) -> str:
        """Why the way is not safe, or nothing: a loss or gradient that is not finite, a loss far from `reference`."""
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        if not all(bool(torch.isfinite(g).all()) for g in gradients):
            return "gradients are not finite"
        if not abs(self.result - reference) <= TOLERANCE * (1 + abs(reference)):
            return f"loss {self.result:.4f}, in float32 {reference:.4f}"
        return ""


@dataclass
class _Trial:
    """The best way so far, and what was seen of the others."""

    probe: Probe
    best: Compute
    rows: int
    halvings: int
    seen: list[tuple[Compute, str]] = field(default_factory=list)
    speed: float = 0.0
    fastest: _Step | None = None
    rule: str = ""
    first_steps: float = 0.0

    def run(self, ways: Ways, seconds: float) -> None:
        """One choice after the other, each in `seconds`."""
        self.compete([replace(self.best, threads=n) for n in ways.threads[1:]], seconds)
        self.compete([replace(self.best, precision=name) for name in ways.precisions[1:]], seconds, ways.short)
        self.compete([replace(self.best, channels_last=layout) for layout in ways.layouts[1:]], seconds)

    def compete(self, others: list[Compute], seconds: float, short: str = "") -> None:
        """Times ways against the best so far, or against the one in precision `short`; the fastest that is safe is the
        new best."""
        if not others:
            return
        steps = {self.best: self.fastest or self._step(self.best)}
        reference = steps[self.best].result
        for way in others:
            try:
                step = self._step(way)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # an operation that this precision lacks
                self.seen.append((way, f"fails: {str(error).splitlines()[0][:80]}"))
                continue
            if way.precision != self.best.precision and (unsafe := step.problem(reference)):
                self.seen.append((way, f"unsafe: {unsafe}"))
            else:
                steps[way] = step
        times = best_times({str(way): step for way, step in steps.items()}, seconds, clock=self.probe.clock)
        usual = next((str(way) for way in steps if way.precision == short), str(self.best))
        name = fastest(times, usual)
        if short and name == usual != min(times, key=lambda way: times[way]):
            self.rule = f"; {short} needs less memory and is taken where it is within {MARGIN - 1:.0%} of the fastest"
        self.seen += [(way, f"{self.rows / times[str(way)]:.4g}") for way in steps if str(way) != name]
        self.best = next(way for way in steps if str(way) == name)
        self.speed, self.fastest = self.rows / times[name], steps[self.best]

    def _step(self, way: Compute) -> _Step:
        step = _Step(self.probe, way, self.rows, self.halvings)
        self.first_steps += timed(step, self.probe.clock)
        return step

    def figures(self, seconds: float) -> str:
        """`15.8 images/s (float32: 8.4; contiguous: 13.4), measured in 0.9 s on 4 of 32 images at 224 px`.

        The time is all of it; first steps are named where they took more than a tenth.
        """
        others = "; ".join(f"{way.unlike(self.best)}: {figure}" for way, figure in self.seen)
        height, width = (side >> self.halvings for side in self.probe.shape[1:])
        size = f"{width} px" if width == height else f"{width}x{height} px"
        first = f", {self.first_steps:.1f} s of them first steps," if self.first_steps > seconds / 10 else ""
        return (
            f"{self.speed:.4g} images/s ({others}{self.rule}), measured in {seconds:.1f} s{first} on {self.rows} of"
            f" {len(self.probe.targets)} images at {size}"
        )


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Torch's random numbers and threads are as before when the block ends; a GPU's memory is given back.

    In it cuDNN takes its kernels without trying them: that takes seconds for each way, and the run tries those of the
    chosen way at its first step.
    """
    threads, tries = torch.get_num_threads(), torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = tries
        if device.type == "cuda":
            torch.cuda.empty_cache()
