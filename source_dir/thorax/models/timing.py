"""Which of several ways to run a network is the fastest on this machine: by the clock, in turn, within a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

#: Another way is taken only where it is so many times as fast: less is noise.
MARGIN = 1.05


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best_times(ways: Mapping[str, Callable[[], object]], seconds: float, rounds: int = 5) -> dict[str, float]:
    """The shortest time of each way, in turn: what other work on the machine adds is left out.

    Args:
        ways: what is timed, by name; each has run once before.
        seconds: of all rounds together; two rounds are finished in any case.
        rounds: at most.

    Returns:
        Seconds by name.
    """
    end = time.perf_counter() + seconds
    best = dict.fromkeys(ways, float("inf"))
    for number in range(rounds):
        for name, way in ways.items():
            if number > 1 and time.perf_counter() > end:
                return best
            best[name] = min(best[name], timed(way))
    return best


def fastest(times: Mapping[str, float], usual: str) -> str:
    """The name with the shortest time; `usual` where none is MARGIN times as fast."""
    name = min(times, key=lambda name: times[name])
    return name if times[usual] > times[name] * MARGIN else usual
