"""Text that leaves the program: names of files, labels and cells come from strangers, and what reads them obeys some.

A terminal obeys control characters, a spreadsheet runs formulas, a log believes that a line break begins a line, and a
header ends at one. Everything that is printed, logged or written goes through this module:

- `visible`: a name in a line: what would be obeyed is written out, such as \\x1b.
- `visible_lines`: text of several lines, with its own line breaks.
- `cell` and `read_cell`: a cell of a CSV, and what it was; nothing is lost.
- `json_lines`: JSON text; what a terminal would obey is escaped as JSON does it.
- `protect_streams`: standard output and error of a command, whatever is written to them.
"""

from __future__ import annotations

import io
import re
import sys
from typing import Any, TextIO

#: What a terminal obeys instead of showing it: control characters, line and paragraph ends, marks that turn the
#: direction of writing; and halves of characters, which cannot be written at all (names of files that are no UTF-8).
_SIGNS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSEEN = re.compile(f"[\t\n{_SIGNS}]")
_UNSEEN_IN_LINES = re.compile(f"[{_SIGNS}]")
#: What a spreadsheet takes for a formula; a number is none.
_FORMULA = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ESCAPES = re.compile(r"\\(?:\\|t|n|r|x[0-9a-f]{2}|u[0-9a-f]{4})")
_ESCAPED = re.compile(r"(?:[^\\]|\\(?:\\|t|n|r|x[0-9a-f]{2}|u[0-9a-f]{4}))*")


def visible(text: str) -> str:
    """The text on one line, with what a terminal would obey written out, such as \\x1b."""
    return _UNSEEN.sub(_written_out, text)


def visible_lines(text: str) -> str:
    """As `visible`, but line breaks and tabs stay: they are the program's own."""
    return _UNSEEN_IN_LINES.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")


def json_lines(text: str) -> str:
    """JSON that was written with ensure_ascii=False, with what a terminal would obey as \\u001b; it means the same."""
    return _UNSEEN_IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


# -- Cells -------------------------------------------------------------------------------------------------------------


def cell(value: Any) -> Any:
    """A cell of a CSV: a text that a spreadsheet would run or a terminal obey begins with an apostrophe.

    After it stands the text itself, or, where it holds control characters, the text with them as \\x1b and backslashes
    doubled. `read_cell` gives the text back; all other texts, and numbers, stay as they are.
    """
    if not isinstance(value, str) or not value:
        return value
    unseen = _UNSEEN.search(value) is not None
    formula = _FORMULA.match(value) is not None and _NUMBER.fullmatch(value) is None
    if not unseen and not formula and read_cell(value) == value:
        return value
    return "'" + (visible(value.replace("\\", "\\\\")) if unseen or "\\" in value else value)


def read_cell(text: str) -> str:
    """What `cell` wrote; a text that it did not write stays as it is."""
    if not text.startswith("'"):
        return text
    rest = text[1:]
    if "\\" in rest and _ESCAPED.fullmatch(rest):
        return _ESCAPES.sub(_meant, rest)
    return rest if _FORMULA.match(rest) else text


def _meant(found: re.Match[str]) -> str:
    escape = found[0]
    if escape[1] in "xu":
        return chr(int(escape[2:], 16))
    return {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}[escape[1]]


# -- Streams -----------------------------------------------------------------------------------------------------------


class ProtectedText(io.TextIOWrapper):
    """Standard output or error: what a terminal would obey is written out, and no text fails to be written."""

    def write(self, text: str) -> int:
        return super().write(visible_lines(text))

    @property
    def trusted(self) -> TextIO:
        """The same stream for a library that draws: its control characters go through."""
        return _Trusted(self)  # type: ignore[return-value]


class _Trusted:
    def __init__(self, stream: ProtectedText) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return io.TextIOWrapper.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:
        """tqdm clears its bars before lines that are printed to the same stream."""
        return other is self._stream or (isinstance(other, _Trusted) and other._stream is self._stream)

    def __hash__(self) -> int:
        return hash(self._stream)


def trusted(stream: TextIO) -> TextIO:
    """A stream for a library that draws on a terminal; what it draws of strangers' names goes through `visible`."""
    return stream.trusted if isinstance(stream, ProtectedText) and stream.isatty() else stream


def protected(stream: TextIO, raw: io.RawIOBase | None = None) -> TextIO:
    """A stream of the process, protected.

    Args:
        raw: where its bytes go; default: where they went.
    """
    stream.flush()
    lines = getattr(stream, "line_buffering", False) or getattr(stream, "write_through", False)
    buffer = io.BufferedWriter(raw or io.FileIO(stream.fileno(), "w", closefd=False))
    return ProtectedText(buffer, stream.encoding, "backslashreplace", line_buffering=lines)


def protect_streams() -> None:
    """Protects standard output and error; a test's or a notebook's stay."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, protected(stream))
