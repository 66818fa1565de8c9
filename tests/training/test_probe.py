"""What is measured, by a clock of the test's own: start-up and other fixed costs do not shrink a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from thorax.training.losses import Loss
from thorax.training.probe import Measurement, Probe, Ways

CPU = torch.device("cpu")
#: precision, memory layout and number of pixels of a step -> seconds
Cost = Callable[[str, bool, int], float]


@dataclass
class Clock:
    """Goes on only where it is told to."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Timed(nn.Module):
    """A network whose forward pass takes `cost`, and `first` more wherever a way sees a size for the first time; memory
    holds `most` images."""

    def __init__(self, clock: Clock, cost: Cost, first: float, most: int) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.shared = Shared(clock, cost, first)
        self.most = most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.shared.run("bfloat16" if torch.is_autocast_enabled("cpu") else "float32", x)
        logits: torch.Tensor = self.linear(x.mean((1, 2, 3)).unsqueeze(1))
        return logits


@dataclass
class Shared:
    """What copies of a network have in common."""

    clock: Clock
    cost: Cost
    first: float
    known: set[tuple[object, ...]] = field(default_factory=set)

    def run(self, precision: str, x: torch.Tensor) -> None:
        layout = x.is_contiguous(memory_format=torch.channels_last)
        way = (precision, layout, *x.shape)
        self.clock.now += self.cost(precision, layout, x.shape[0] * x.shape[2] * x.shape[3])
        self.clock.now += 0.0 if way in self.known else self.first
        self.known.add(way)

    def __deepcopy__(self, _: object) -> Shared:
        return self


def measured(
    cost: Cost,
    *,
    first: float = 0.0,
    whole: bool = False,
    short: str = "",
    most: int = 99,
    clock: Clock | None = None,
    batches: float = 1e6,
) -> Measurement:
    """A choice between float32 and bfloat16 and both layouts, on 32 images of 3 x 128 x 128, for a run of so many such
    batches."""
    clock = clock or Clock()
    targets = (torch.arange(32) % 2).to(torch.float32)[:, None]
    probe = Probe(
        Timed(clock, cost, first, most),
        Loss("bce", None, 0.0, 2.0),
        (3, 128, 128),
        targets,
        CPU,
        batches * FULL,
        whole,
        clock,
    )
    return probe.measure(Ways(("float32", "bfloat16"), (True, False), (1,), short), 1.0)


FULL = 32 * 128 * 128


@pytest.mark.parametrize("first", [0.0, 30.0])
def test_start_up_does_not_shrink_the_batch(first):
    found = measured(lambda precision, layout, pixels: 0.01 * pixels / FULL, first=first)
    assert "on 32 of 32 images at 128 px" in found.figures


def test_the_fixed_cost_of_a_step_does_not_shrink_the_batch():
    found = measured(lambda precision, layout, pixels: 0.03 + 0.01 * pixels / FULL)
    assert "on 32 of 32 images at 128 px" in found.figures


def test_a_step_that_is_too_long_has_fewer_and_then_smaller_images():
    assert "on 2 of 32 images at 128 px" in measured(lambda precision, layout, pixels: 1.0 * pixels / FULL).figures
    assert "on 2 of 32 images at 64 px" in measured(lambda precision, layout, pixels: 9.0 * pixels / FULL).figures


def test_whole_batches_are_not_shrunk():
    found = measured(lambda precision, layout, pixels: 9.0 * pixels / FULL, whole=True)
    assert "on 32 of 32 images at 128 px" in found.figures


def test_a_measurement_takes_a_small_share_of_the_run():
    """Steps of 10 ms: 50 s of them, and 3 s."""
    clock = Clock()
    found = measured(lambda precision, layout, pixels: 0.01 * pixels / FULL, batches=5000, clock=clock)
    assert found.worth and "measured in" in found.figures and clock.now < 2.5
    clock = Clock()
    found = measured(lambda precision, layout, pixels: 0.01 * pixels / FULL, batches=300, clock=clock)
    assert not found.worth and found.compute.precision == "float32" and clock.now < 0.15
    assert found.figures == "not measured: the run's steps take about 3.0 s"


def test_where_memory_does_not_hold_two_networks_there_are_fewer_images():
    found = measured(lambda precision, layout, pixels: 0.1 if precision == "float32" else 0.05, whole=True, most=11)
    assert "on 8 of 32 images at 128 px" in found.figures and found.compute.precision == "bfloat16"
    with pytest.raises(torch.OutOfMemoryError):
        measured(lambda precision, layout, pixels: 0.1, whole=True, most=0)


def test_the_line_tells_all_of_the_time_and_what_of_it_were_first_steps():
    """Three ways, each run first in 10.1 s; rounds of two ways, twice at least: 2 x 2 x 2 x 0.1 s."""
    figures = measured(lambda precision, layout, pixels: 0.1, first=10.0, whole=True).figures
    assert figures.startswith("320 images/s (bfloat16: 320; contiguous: 320), measured in ")
    total, first = (float(figures.split(word)[0].split()[-1]) for word in (" s, ", " s of them first steps,"))
    assert first == pytest.approx(30.3)
    assert first + 0.8 <= total <= first + 1.0


@pytest.mark.parametrize(
    ("bfloat16", "short", "taken"),
    [(1.05, "bfloat16", "bfloat16"), (1.2, "bfloat16", "float32"), (0.95, "", "float32"), (0.8, "", "bfloat16")],
)
def test_a_short_precision_is_taken_within_the_noise_of_the_fastest_where_it_is_asked_for(bfloat16, short, taken):
    found = measured(
        lambda precision, layout, pixels: 0.01 * (bfloat16 if precision == "bfloat16" else 1.0), whole=True, short=short
    )
    assert found.compute.precision == taken
    rule = "bfloat16 needs less memory and is taken where it is within 10% of the fastest"
    assert (rule in found.figures) == (bool(short) and taken == "bfloat16")


def test_cudnn_does_not_try_kernels_while_ways_are_compared(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    seen = []

    def cost(precision: str, layout: bool, pixels: int) -> float:
        seen.append(torch.backends.cudnn.benchmark)
        return 0.01

    measured(cost)
    assert seen and not any(seen) and torch.backends.cudnn.benchmark
