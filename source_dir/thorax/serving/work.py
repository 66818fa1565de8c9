"""What a server does for one request: for whom, until when, and which of its means are shared with others."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from thorax.machine import free_cpus
from thorax.serving.clients import UNKNOWN
from thorax.serving.decode_pool import DecodePool
from thorax.serving.request import RequestError
from thorax.serving.turns import Turns

Result = TypeVar("Result")

#: A request whose images are estimated to take so many times its time limit is refused before any is decoded: the
#: estimate may be too high by as much.
HOPELESS = 4.0
#: How far the thread that draws heat maps yields to all others (man 2 nice).
NICE = 10


class Means:
    """What all requests of a server share.

    Attributes:
        pool: decodes what is not proven cheap.
        decoding: turns of the rest, in this process.
        drawing: turns of heat maps, one at a time.
        hand: the thread that draws them.
    """

    def __init__(self, pool: DecodePool) -> None:
        self.pool = pool
        self.decoding = Turns(free_cpus() + 1)
        self.drawing = Turns(1)
        self.hand = ThreadPoolExecutor(1, "heat-map", initializer=_yield)

    def close(self) -> None:
        """Ends processes and thread."""
        self.pool.close()
        self.hand.shutdown()


@dataclass(frozen=True)
class Work:
    """The work for one request.

    Attributes:
        means: what it shares with others.
        seconds: that it may take, in all.
        deadline: of time.monotonic(), by which it must be done.
        client: for whom (see Clients).
    """

    means: Means
    seconds: float
    deadline: float
    client: str = UNKNOWN

    @classmethod
    def of(cls, means: Means, seconds: float, client: str = UNKNOWN) -> Work:
        """The work that begins now."""
        return cls(means, seconds, time.monotonic() + seconds, client)

    @property
    def pool(self) -> DecodePool:
        """What decodes what is not proven cheap."""
        return self.means.pool

    def admit(self, cost: float) -> None:
        """Refuses images that cannot be decoded in time.

        Args:
            cost: CPU seconds of all of them, about.

        Raises:
            RequestError: 413.
        """
        if cost > HOPELESS * self.seconds:
            raise RequestError(
                413,
                f"decoding the images would take some {cost:.0f} seconds, and a request has {self.seconds:g}; send"
                " fewer at once, or simpler files",
            )

    def check(self) -> None:
        """Raises RequestError, 503, where the time is over."""
        if time.monotonic() > self.deadline:
            raise self.too_late()

    def too_late(self) -> RequestError:
        """503: the request's time is over."""
        return RequestError(503, f"no answer within {self.seconds:g} seconds; try again later, or send fewer at once")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A place among those that decode in this process.

        Raises:
            RequestError: 503, there is none in time.
        """
        try:
            with self.means.decoding.turn(self.client, self.deadline):
                yield
        except TimeoutError:
            raise self.too_late() from None

    def draw(self, heat_map: Callable[[], Result]) -> Result:
        """A heat map, in its turn.

        Raises:
            RequestError: 503, the request's time is over.
        """
        self.check()
        try:
            with self.means.drawing.turn(self.client, self.deadline, 0.2):
                return self.means.hand.submit(heat_map).result()
        except TimeoutError:
            raise self.too_late() from None


def _yield() -> None:
    """This thread takes the CPU that others leave; nothing where the system has no priorities of threads."""
    with suppress(AttributeError, OSError):
        if os.uname().sysname == "Linux":  # elsewhere it would be the whole process
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
