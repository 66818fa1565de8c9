"""What a terminal shows: a command on a pseudo terminal, its screen as text, and as a page for a picture of it."""

from __future__ import annotations

import fcntl
import html
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyte

LINES = 300
#: Name of a colour -> on a light and on a dark terminal.
COLOURS = {
    "black": ("#1b1f24", "#8b949e"),
    "red": ("#b3261e", "#ff7b72"),
    "green": ("#116329", "#7ee787"),
    "brown": ("#7a4e00", "#e3b341"),
    "blue": ("#0550ae", "#79c0ff"),
    "magenta": ("#8250df", "#d2a8ff"),
    "cyan": ("#0b6e75", "#76e3ea"),
    "white": ("#57606a", "#f0f6fc"),
}
PAPER = ("#ffffff", "#0d1117")
INK = ("#1f2328", "#e6edf3")
STYLE = """
body {{ margin: 0; background: {paper}; }}
pre {{ margin: 0; padding: 14px 18px; color: {ink}; display: inline-block;
  font: 13.5px/1.3 "DejaVu Sans Mono", "Liberation Mono", monospace; }}
"""


@dataclass(frozen=True)
class Screen:
    """A terminal's screen.

    Attributes:
        columns: its width.
        rows: of characters with (colour, bold, dim).
    """

    columns: int
    rows: list[list[tuple[str, str, bool]]]

    @property
    def text(self) -> list[str]:
        """Its lines."""
        return ["".join(cell[0] for cell in row).rstrip() for row in self.rows]

    def page(self, dark: bool) -> str:
        """As HTML."""
        style = STYLE.format(paper=PAPER[dark], ink=INK[dark])
        lines = "\n".join(_line(row, dark) for row in self.rows)
        return f"<!doctype html><meta charset=utf-8><style>{style}</style><pre>{lines}</pre>"


def _line(row: list[tuple[str, str, bool]], dark: bool) -> str:
    parts = []
    for (colour, bold), cells in groupby(row, key=lambda cell: cell[1:]):
        text = html.escape("".join(cell[0] for cell in cells))
        shown = COLOURS.get(colour.removeprefix("bright"), (f"#{colour}",) * 2)[dark] if colour != "default" else ""
        style = (f"color:{shown};" if shown else "") + ("font-weight:bold" if bold else "")
        parts.append(f'<span style="{style}">{text}</span>' if style else text)
    return "".join(parts)


def on_screen(
    command: Sequence[str], environment: Mapping[str, str], place: Path, columns: int, until: str | None = None
) -> Screen:
    """The screen after the command; with `until` the one when it first held that text, or else the last.

    Args:
        command: its words.
        environment: of the process; COLUMNS is left out.
        place: its folder.
        columns: of the terminal.
        until: a text, such as of a bar that goes away.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    clean = {key: text for key, text in environment.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    clean["TERM"] = "xterm-256color"
    process = subprocess.Popen(command, cwd=place, env=clean, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen, kept = pyte.Screen(columns, LINES), None
    stream = pyte.ByteStream(screen)
    try:
        while block := os.read(ours, 4096):
            stream.feed(block)
            if until and kept is None and any(until in line for line in screen.display):
                kept = _copied(screen)
    except OSError:  # the terminal is gone when the process ends
        pass
    os.close(ours)
    process.wait()
    return kept or _copied(screen)


def _copied(screen: pyte.Screen) -> Screen:
    rows = []
    for y in range(LINES):
        line = screen.buffer[y]
        rows.append([(line[x].data, line[x].fg, line[x].bold) for x in range(screen.columns)])
    while rows and not any(cell[0].strip() for cell in rows[-1]):
        rows.pop()
    return Screen(screen.columns, rows)
