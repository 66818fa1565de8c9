"""Fair comparisons: ours and peers in turn, the machine named, and no ratio that noise could have made.

    sides = alternate(ours, peer, seconds=20)            # seconds of each round: A B A B ...
    row = compare("Training step", "plain step", 32, *sides)

A ratio is printed only where it stands out: see `ratio`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from math import log
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

#: Rounds below which all of them are the spread; from here on it is their middle half.
MANY = 8


class Row(NamedTuple):
    """A line of a table, as text."""

    what: str
    ours: str
    peer: str
    ratio: str
    target: str = ""
    note: str = ""


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(
    *sides: Callable[[], object], seconds: float, least: int = 3, most: int = 99, warm: int = 1
) -> list[list[float]]:
    """Runs the sides in turn, A B A B ..., until the time is up.

    Args:
        sides: what is timed; two or more.
        seconds: of all rounds together, warming up included; a round that has begun is finished.
        least, most: rounds, whatever the time.
        warm: rounds before the first that counts.

    Returns:
        For each side the seconds of each round.
    """
    took: list[list[float]] = [[] for _ in sides]
    for number in rounds(seconds, least + warm, most + warm):
        for side, seconds_of in zip(sides, took, strict=True):
            one = timed(side)
            if number >= warm:
                seconds_of.append(one)
    return took


def rounds(seconds: float, least: int = 3, most: int = 99) -> Iterator[int]:
    """0, 1, 2 ... until the time is up; at least `least` and at most `most` of them."""
    end = time.perf_counter() + seconds
    for number in range(most):
        if number >= least and time.perf_counter() > end:
            return
        yield number


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest of the rounds; of their middle half where there are MANY."""
    cut = 0.25 if len(values) >= MANY else 0.0
    low, high = np.quantile(values, [cut, 1 - cut])
    return float(low), float(high)


def ratio(better: Sequence[float]) -> str:
    """How many times better ours is, as text: `**1.53x** (1.49 to 1.58)`.

    Args:
        better: each round's ratio, above 1 where ours is better.

    Returns:
        The median with its spread; `no ratio: spread 0.93 to 1.22` where the spread is wider than the effect: where
        high/low is more than the median's distance from 1 (as a factor), or there is one round alone.
    """
    if len(better) < 2:
        return "no ratio: one round"
    middle, (low, high) = median(better), spread(better)
    if log(high / low) > abs(log(middle)):
        return f"no ratio: spread {low:.2f} to {high:.2f}"
    return f"**{middle:.2f}x** ({low:.2f} to {high:.2f})"


def compare(what: str, peer: str, images: int, ours: Sequence[float], theirs: Sequence[float], **texts: str) -> Row:
    """Images per second of both sides and the ratio, from each round's seconds for `images` images."""
    better = ratio([b / a for a, b in zip(ours, theirs, strict=True)])
    speeds = [f"{images / median(seconds):.1f} images/s" for seconds in (ours, theirs)]
    return Row(what, speeds[0], f"{speeds[1]}: {peer}", better, **texts)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """What figures belong to, and how busy it is: CPU, AMX or not, cores, torch, load of the last minute."""
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    info = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    names = (line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name"))
    kind = "AMX" if "amx_bf16" in info else "no AMX, but AVX-512 BF16" if "avx512_bf16" in info else "no AMX"
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{next(names, 'unknown CPU')} ({kind}), {cores()} core(s){gpu}, torch {torch.__version__}, load {load()}"


def load() -> str:
    """Processes that were running or waiting on this machine, mean of the last minute: our own count too."""
    return f"{os.getloadavg()[0]:.1f}"
