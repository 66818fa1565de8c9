"""SIGTERM and Ctrl-C: a request to save and end after the step at hand."""

from __future__ import annotations

import signal
from types import FrameType


class Stop:
    """Remembers that a signal came. A second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def listen(self) -> Stop:
        signal.signal(signal.SIGTERM, self._received)
        signal.signal(signal.SIGINT, self._received)
        return self

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = number

    @property
    def requested(self) -> bool:
        return self.signal is not None

    @property
    def by_hand(self) -> bool:
        return self.signal == signal.SIGINT

    @property
    def reason(self) -> str:
        return signal.Signals(self.signal).name if self.signal is not None else "another process"
