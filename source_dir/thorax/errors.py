"""The one kind of error a user is meant to read."""

from __future__ import annotations

import re
import sys
from typing import ClassVar

#: What a terminal obeys instead of showing it: control characters, line and paragraph ends, marks that turn the
#: direction of writing; and halves of characters, which cannot be written at all (names of files that are no UTF-8).
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with what a terminal would obey written out, such as \\x1b: names of files come from strangers."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)


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
