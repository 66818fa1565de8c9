"""Which of several ways to run a network is the fastest on this machine: by the clock, in turn, within a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

#: Seconds of a clock that only goes forward.
Clock = Callable[[], float]
#: Another way is taken only where it is so many times as fast: less is noise.
MARGIN = 1.1
#: A shortest time counts as found where the second shortest is at most so many times as long.
_REPEATED = 1.1


def timed(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Seconds that the work takes."""
    start = clock()
    work()
    return clock() - start


def best_times(
    ways: Mapping[str, Callable[[], object]], seconds: float, most: int = 12, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """The shortest time of each way, in turn: what other work on the machine adds is left out.

    Args:
        ways: what is timed, by name; each has run once before.
        seconds: of all rounds together. Two rounds are finished in any case; on a busy machine, where a shortest time
            has not come twice, it takes up to 3 times as long.
        most: rounds.
        clock: what the time is read from.

    Returns:
        Seconds by name.
    """
    start = clock()
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(most):
        passed = clock() - start
        steady = number > 1 and all(min(times) * _REPEATED > sorted(times)[1] for times in took.values())
        if number > 1 and passed > seconds * (1 if steady else 3):
            break
        for name, way in ways.items():
            took[name].append(timed(way, clock))
    return {name: min(times) for name, times in took.items()}


def fastest(times: Mapping[str, float], usual: str) -> str:
    """The name with the shortest time; `usual` where none is MARGIN times as fast."""
    name = min(times, key=lambda name: times[name])
    return name if times[usual] > times[name] * MARGIN else usual
