"""The one kind of error a user is meant to read."""

from __future__ import annotations

import sys
from typing import ClassVar

from thorax.shown import visible


class ThoraxError(Exception):
    """A mistake in what the user gave, or a limit of the machine: never a bug of ours.

    The message is one line: which flag or file, what was found, what to do next. Entry points print it
    without a traceback, write it to output/failure and exit with code 1 (`exit_code`; some kinds have their own).
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(visible(str(message)))


_said: set[str] = set()


def deprecated(old: str, new: str) -> None:
    """Writes one line on standard error, once a process, that `old` still works and is now called `new`."""
    if old not in _said:
        _said.add(old)
        print(f"warning: {old} is deprecated; write {new}", file=sys.stderr, flush=True)
