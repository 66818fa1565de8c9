"""Pages of Markdown whose commands are executed and whose outputs are compared with what they write.

A page holds, in this order in one folder:

* blocks `console`: a line that begins with `$ ` is a command of one bash (lines below it that begin with `> ` go on);
  the lines until the next one are what it writes to both outputs. A comment `<!-- Ctrl-C after: TEXT -->` above the
  block presses Ctrl-C in its first command as soon as TEXT is there.
* blocks `python`: code of one interpreter; the block `text` right below it is what it prints.

An output is the page's when both are the same after `normal`. A line `...` stands for any lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FENCE = re.compile(r"^```(\w*)$")
CTRL_C = re.compile(r"^<!-- Ctrl-C after: (.+) -->$")
ANY = "..."

#: What may differ from run to run and machine to machine, in order: (pattern, what stands for it). All else must be the
#: same, whole numbers too.
VARIES = [
    (re.compile(r"127\.0\.0\.1:\d+"), "HERE"),
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "HASH"),  # of files and splits
    (re.compile(r"\b\d{6}-\d{6}\b"), "DATE"),
    (re.compile(r"^\s*[\d,]+(?=  s3://)"), "N"),  # bytes of files
    (re.compile(r"\(all \d+:"), "(all N:"),  # hyperparameters
    (re.compile(r"\b\d+(?= files as written)"), "N"),  # a bundle holds our source files
    (re.compile(r"\btorch \d\S*"), "torch VERSION"),
    (re.compile(r"\bepoch \d+ step \d+"), "epoch N step N"),  # where Ctrl-C came
    (re.compile(r"^epoch \d+(?=/)"), "epoch N"),
    (re.compile(r"\b20\d\d-?\d\d-?\d\d(?:[-T ]\d{2}:?\d{2}(?::?\d{2})?)?\b"), "DATE"),
    (
        re.compile(r"\b\d+(?:[.,]\d+)*(?= ?(?:s|ms|min|minutes?|h|kB|KB|MB|GB|bytes|images/s|px/s|%|\u20ac)(?:\W|$))"),
        "N",
    ),
    (re.compile(r"[-+]?\b\d+\.\d+(?:e[-+]?\d+)?x?\b|\bnan\b"), "N"),  # scores, dollars
    (re.compile(r"(?:/[\w.-]+)+/page(?=/|\b)"), "FOLDER"),  # the page's own temporary folder
    (re.compile(r"\bepoch \d+ of (?=\d)"), "epoch N of "),  # the best one
    (re.compile(r"\btrial-\d{3}\b"), "TRIAL"),  # which of a search is the best
    (re.compile(r" \*$"), ""),  # the best epoch so far
    (re.compile(r"[─━]{2,}|-{4,}"), "RULE"),  # rulings of tables are as wide as the numbers
    (re.compile(r"\s+"), " "),  # and so are their columns
]
#: Lines that come or do not, by how busy the machine is and what it has.
PASSING = re.compile(
    r"^[^:]+: \w+ [\d,]+/[\d,]+, |of the time was spent waiting for images|^note: scores are computed in float32"
)


def normal(line: str) -> str:
    """The line without what may differ."""
    for pattern, stands in VARIES:
        line = pattern.sub(stands, line)
    return line.strip()


def _normal(lines: Sequence[str]) -> list[str]:
    """The lines without what may differ, and without empty ones. Epochs one after the other count once: a stop leaves
    some to the next."""
    found = [text for line in lines if (text := normal(line))]
    return [line for k, line in enumerate(found) if not (k and line.startswith("epoch N/") and line == found[k - 1])]


def same(shown: Sequence[str], real: Sequence[str]) -> bool:
    """Whether the page's lines are those of the output."""
    parts: list[list[str]] = [[]]
    for line in _trimmed(shown):
        if line.strip() == ANY:
            parts.append([])
        else:
            parts[-1].append(line)
    parts = [_normal(part) for part in parts]
    lines = _normal(_trimmed(real))
    if len(parts) == 1:
        return parts[0] == lines
    first, *middle, last = parts
    if len(first) + len(last) > len(lines) or lines[: len(first)] != first or (last and lines[-len(last) :] != last):
        return False
    at, end = len(first), len(lines) - len(last)
    for part in middle:
        starts = [i for i in range(at, end - len(part) + 1) if lines[i : i + len(part)] == part]
        if not starts:
            return False
        at = starts[0] + len(part)
    return True


def _trimmed(lines: Sequence[str]) -> list[str]:
    """Without empty lines at both ends."""
    kept = [line.rstrip() for line in lines if not PASSING.search(line)]
    while kept and not kept[-1]:
        kept.pop()
    while kept and not kept[0]:
        kept.pop(0)
    return kept


@dataclass(frozen=True)
class Step:
    """One command or block of code.

    Attributes:
        kind: console or python.
        code: what is run.
        at: its line in the page, from 1.
        shown: first and last but one line of the output in the page, from 0.
        interrupt: Ctrl-C comes when the output holds this.
        fenced: whether the page has a place for the output.
    """

    kind: str
    code: str
    at: int
    shown: tuple[int, int]
    interrupt: str | None = None
    fenced: bool = True


def steps(page: str) -> list[Step]:
    """What a page executes, in order."""
    lines, found, i = page.splitlines(), [], 0
    while i < len(lines):
        opened = FENCE.match(lines[i])
        if not opened:
            i += 1
            continue
        end = lines.index("```", i + 1)
        if opened[1] == "console":
            key = CTRL_C.match(lines[i - 1]) if i else None
            found += _commands(lines, i + 1, end, key[1] if key else None)
        elif opened[1] == "python":
            found.append(_code(lines, i, end))
        i = end + 1
    return found


def _commands(lines: list[str], first: int, end: int, interrupt: str | None) -> list[Step]:
    starts = [i for i in range(first, end) if lines[i].startswith("$ ")]
    assert starts and starts[0] == first, f"line {first + 1}: a console block begins with a command"
    found = []
    for start, after in zip(starts, [*starts[1:], end], strict=True):
        last = start
        while lines[last + 1].startswith("> ") and last + 1 < after:
            last += 1
        code = "\n".join(line[2:] for line in lines[start : last + 1])
        found.append(Step("console", code, start + 1, (last + 1, after), interrupt if start == first else None))
    return found


def _code(lines: list[str], opened: int, end: int) -> Step:
    code, at = "\n".join(lines[opened + 1 : end]), end + 1
    while at < len(lines) and not lines[at]:
        at += 1
    if at < len(lines) and lines[at] == "```text":
        return Step("python", code, opened + 2, (at + 1, lines.index("```", at)))
    return Step("python", code, opened + 2, (end + 1, end + 1), fenced=False)


@dataclass(frozen=True)
class Difference:
    """A step whose output is not the page's."""

    step: Step
    shown: list[str]
    real: list[str]

    def __str__(self) -> str:
        return "\n".join(
            [f"line {self.step.at}: {self.step.code}", "the page shows:", *self.shown, "it writes:", *self.real]
        )


def differences(page: str, run: Callable[[Step], str]) -> list[Difference]:
    """Executes the page, and returns the steps whose output is another.

    Args:
        page: its text.
        run: executes a step and returns what it writes.
    """
    lines, found = page.splitlines(), []
    for step in steps(page):
        shown, real = lines[slice(*step.shown)], run(step).splitlines()
        if not same(shown, real):
            found.append(Difference(step, shown, [line.rstrip() for line in real]))
    return found


def corrected(page: str, wrong: Sequence[Difference]) -> str:
    """The page with the real outputs in the place of those that differ; a `...` stays about where it was."""
    lines = page.splitlines()
    for one in reversed(wrong):
        real = _trimmed(one.real)
        places = [i for i, line in enumerate(one.shown) if line.strip() == ANY]
        if places:
            head, tail = places[0], len(one.shown) - 1 - places[-1]
            if len(real) > head + tail:
                real = [*real[:head], ANY, *real[len(real) - tail :]]
        if not one.step.fenced:
            real = ["", "```text", *real, "```"]
        lines[slice(*one.step.shown)] = real
    return "\n".join(lines) + "\n"
