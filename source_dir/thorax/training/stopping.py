"""SIGTERM and Ctrl-C: a request to save and end after the step at hand."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Those that ask a run to save and end.
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals_restored() -> Iterator[None]:
    """Gives SIGTERM and Ctrl-C back to whom they belonged before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)


class Stop:
    """Remembers that a signal came. A second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def listen(self) -> Stop:
        """Answers the signals from now on; outside the main thread, where Python takes none, it is never asked."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._received)
        return self

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = number

    @property
    def requested(self) -> bool:
        return self.signal is not None

    @property
    def reason(self) -> str:
        """SIGTERM, SIGINT, or that another process of the run was asked."""
        return signal.Signals(self.signal).name if self.signal is not None else "another process"
