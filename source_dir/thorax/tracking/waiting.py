"""Waiting for what goes on elsewhere: a live line on a terminal, a whole or a JSON line now and then elsewhere."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any, Self

from thorax.tracking.progress import LineSink, State, say, sink

#: Seconds between two lines where there is no terminal, and between two looks at the clock of a live line.
EVERY, TICK = 60.0, 1.0


class Waiting:
    """Shows the state of something outside of this process, and since when it goes on.

    Args:
        title: what is waited for, such as "endpoint chest".
        every: seconds without any line after which one is printed, where there is no terminal.
        shown: whether anything is.

    Attributes:
        state: what is shown; see `update`.
    """

    def __init__(self, title: str, every: float = EVERY, shown: bool = True) -> None:
        self.state = State(title)
        self._sink = sink(every) if shown else LineSink(math.inf)
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._sink.close()

    @property
    def live(self) -> bool:
        """Whether a live line shows the state, so that lines about it need not be printed."""
        return not isinstance(self._sink, LineSink)

    def update(self, began: float | None = None, **values: Any) -> None:
        """Changes fields of the state.

        Args:
            began: seconds since 1970 at which it began; None: when the waiting began, or as before.
            values: by the names of `State`.
        """
        if began is not None:
            self._began = time.monotonic() - max(0.0, time.time() - began)
        self.state = replace(self.state, **values)

    def say(self, text: str, error: bool = False) -> None:
        """Prints a whole line, above the live one."""
        self._told = time.monotonic()
        say(text, error)

    def pause(self, seconds: float) -> None:
        """Sleeps so long; what is shown meanwhile follows the clock."""
        steps = max(1, math.ceil(seconds / TICK)) if self.live else 1
        for _ in range(steps):
            self._show()
            time.sleep(seconds / steps)
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        if not self.live:
            if now - self._told < self._sink.every:
                return
            self._told = now
        self._sink.show(replace(self.state, seconds=now - self._began))
