"""Progress of long work: a live bar on a terminal, a whole line every few seconds elsewhere, JSON lines on request.

The environment variable THORAX_PROGRESS says how: bar, lines, json (an object a line), or file:PATH, where the latest
state is kept for a launcher that shows a bar of its own. Only the main process of a run shows anything.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, Self, TypeVar

from thorax.job import environment
from thorax.secrets import mask
from thorax.shown import trusted, visible
from thorax.text import counted, duration, size

#: The name of the environment variable.
HOW = "THORAX_PROGRESS"
#: Seconds over which the rate is measured, and between two drawings of a bar.
WINDOW, REDRAW = 15.0, 0.1
#: The unit that is shown as a size.
BYTE = "byte"
T = TypeVar("T")


@dataclass(frozen=True)
class State:
    """How far some work is.

    Attributes:
        title: such as "epoch 3/16".
        done, total: units; a total of 0 is not known.
        unit: what is counted, such as image; bytes are shown as sizes.
        rate: units per second; None: not known yet.
        loss: the latest.
        best: the best result so far, as text.
        after: units of the work that follows this one.
        note: anything else.
        counts: whether a bar names the numbers; an epoch's has more to say.
        seconds: since it began, of work that goes on elsewhere; None: not shown.
    """

    title: str
    done: int = 0
    total: int = 0
    unit: str = "image"
    rate: float | None = None
    loss: float | None = None
    best: str = ""
    after: int = 0
    note: str = ""
    counts: bool = True
    seconds: float | None = None

    @property
    def facts(self) -> list[str]:
        """Rate, loss, times and the best so far, those that are known, as texts."""
        found = []
        if self.rate is not None:
            plain = f"{self.rate:.{0 if self.rate >= 100 else 1}f} {self.unit}s"
            found.append(f"{size(self.rate) if self.unit == BYTE else plain}/s")
        if self.loss is not None:
            found.append(f"loss {self.loss:.3f}")
        if (left := self.seconds_left(0)) is not None:
            found.append(f"{duration(left)} left")
        if self.after and (in_all := self.seconds_left(self.after)) is not None:
            found.append(f"{duration(in_all)} in all")
        if self.seconds is not None:
            found.append(f"{duration(self.seconds)} so far")
        return [*found, *([f"best {self.best}"] if self.best else []), *([self.note] if self.note else [])]

    @property
    def count(self) -> str:
        """The units that are done, and of how many: "1,920/4,684", "12.4 MB/350.0 MB"; "" where nothing is counted."""
        told = size if self.unit == BYTE else "{:,}".format
        if self.total:
            return f"{told(self.done)}/{told(self.total)}"
        return (told(self.done) if self.unit == BYTE else counted(self.done, self.unit)) if self.done else ""

    def seconds_left(self, after: int) -> float | None:
        """Until this work and `after` more units are done; None where it is not known."""
        return (max(0, self.total - self.done) + after) / self.rate if self.total and self.rate else None

    def line(self) -> str:
        """One whole line: "epoch 3/16: image 1,920/4,684, 31.2 images/s, loss 0.412, 1 min 29 s left"."""
        where = f"{self.unit} {self.count}" if self.total and self.unit != BYTE else self.count
        return ": ".join(filter(None, [self.title, ", ".join(filter(None, [where, *self.facts]))]))

    def json(self) -> str:
        """One line of JSON: {"progress": title, "done", "total", "unit", "rate", "loss", "best", "seconds_left"}."""
        values = asdict(self)
        del values["counts"]
        values = {"progress": values.pop("title"), **values, "seconds_left": self.seconds_left(0)}
        values["seconds_left_in_all"] = self.seconds_left(self.after)
        return json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()})


class Bar:
    """A live line on a terminal, below the lines that are printed."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._title = ""

    def show(self, state: State) -> None:
        """Draws the state."""
        from tqdm import tqdm

        if self._bar is None or (state.title, state.total) != (self._title, self._bar.total or 0):
            self.clear()
            self._title = state.title
            self._bar = tqdm(
                total=state.total or None,
                desc=visible(state.title),
                leave=False,
                dynamic_ncols=True,
                bar_format=visible(_shape(state)),
                file=trusted(sys.stderr),
            )
        self._bar.bar_format = visible(_shape(state))
        self._bar.n = min(state.done, state.total) if state.total else state.done
        self._bar.set_postfix_str(visible(", ".join(state.facts)), refresh=False)
        self._bar.refresh()

    def write(self, text: str, error: bool = False) -> None:
        """Prints whole lines above the live one; with `error` on standard error."""
        to = sys.stderr if error else sys.stdout
        if self._bar is None:
            print(text, file=to, flush=True)
        else:
            self._bar.write(text, file=to)
            to.flush()

    def clear(self) -> None:
        """Takes the live line away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _shape(state: State) -> str:
    """tqdm's format of a state: its title, a bar where the end is known, the numbers, and the facts."""
    if not state.total:
        return "{desc}{postfix}"
    return f"{{desc}} |{{bar:8}}| {state.count if state.counts else '{percentage:.0f}%'}{{postfix}}"


class Sink(Protocol):
    """Where progress goes; `every` is the least time between two states, in seconds."""

    every: float

    def show(self, state: State) -> None: ...
    def close(self) -> None: ...


class _BarSink:
    every = REDRAW

    def __init__(self) -> None:
        _bars.append(Bar())
        self.bar = _bars[-1]

    def show(self, state: State) -> None:
        self.bar.show(state)

    def close(self) -> None:
        self.bar.clear()
        if self.bar in _bars:
            _bars.remove(self.bar)


class LineSink:
    """Whole lines, or JSON lines."""

    def __init__(self, every: float, as_json: bool = False) -> None:
        self.every, self.as_json = every, as_json

    def show(self, state: State) -> None:
        say(state.json() if self.as_json else state.line())

    def close(self) -> None:
        pass


class _FileSink:
    """The latest state in a file, and whole lines for the log now and then."""

    every = 0.2

    def __init__(self, file: str, lines: LineSink) -> None:
        self.file, self.lines, self.told = file, lines, time.monotonic()

    def show(self, state: State) -> None:
        self._write(json.dumps(asdict(state)))
        if state.total and time.monotonic() - self.told > self.lines.every:
            self.told = time.monotonic()
            self.lines.show(state)

    def close(self) -> None:
        self._write("")

    def _write(self, text: str) -> None:
        try:
            with open(f"{self.file}.new", "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(f"{self.file}.new", self.file)
        except OSError:  # a full disk: the bar stands still, the work goes on
            pass


#: Bars that are shown now; lines are printed above the latest one.
_bars: list[Bar] = []


def say(text: str, error: bool = False) -> None:
    """One whole line on standard output, or with `error` on standard error, at once; secrets in it are masked."""
    (_bars[-1] if _bars else Bar()).write(mask(text), error)


@dataclass
class Progress:
    """Counts units of some work, and shows how far it is.

    Args:
        title: such as "epoch 3/16".
        total: how many there are; 0: not known.
        unit: what is counted.
        start: how many are done (after a resume).
        shown: whether this process shows it.
        every: seconds between lines where there is no terminal.
        best: the best result so far, as text.
        after: units of the work that follows, for the time that is left in all.
        counts: see State.

    Attributes:
        note: anything else to show; may change as the work goes on.
    """

    title: str
    total: int
    unit: str = "image"
    start: int = 0
    shown: bool = True
    every: float = 30.0
    best: str = ""
    after: int = 0
    counts: bool = True

    def __post_init__(self) -> None:
        self.done = self.start
        self.loss: float | None = None
        self.note = ""
        self._sink: Sink | None = sink(self.every) if self.shown else None
        self._last = time.monotonic()
        self._seen = deque([(self._last, self.start)])
        if self._sink is not None and not isinstance(self._sink, LineSink):
            self._show(self._last)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def step(self, loss: float | None = None, count: int = 1) -> None:
        """`count` units are done."""
        self.done += count
        self.loss = loss
        if self._sink is None:
            return
        now = time.monotonic()
        if now - self._last > self._sink.every and (self.done < self.total or not self.total):
            self._show(now)

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """The items, each counted once it is done; closed at the end."""
        with self:
            for item in items:
                yield item
                self.step()

    def close(self) -> None:
        """Takes the bar away."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def _show(self, now: float) -> None:
        assert self._sink is not None
        self._last = now
        self._seen.append((now, self.done))
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW:
            self._seen.popleft()
        since, before = self._seen[0]
        rate = (self.done - before) / (now - since) if self.done > before and now > since else None
        done = min(self.done, self.total) if self.total else self.done
        state = State(self.title, done, self.total, self.unit, rate, self.loss, self.best, self.after, self.note)
        self._sink.show(replace(state, counts=self.counts))


@contextmanager
def busy(title: str, shown: bool = True) -> Iterator[None]:
    """Says on a terminal what is being done while its length is not known; elsewhere it says nothing."""
    where = sink(0.0) if shown else None
    if where is not None and not isinstance(where, LineSink):
        where.show(State(title))
    try:
        yield
    finally:
        if where is not None:
            where.close()


def sink(every: float) -> Sink:
    """Where progress goes, as THORAX_PROGRESS and the terminal say; `every`: seconds between two whole lines."""
    how = environment().get(HOW, "")
    if how.startswith("file:"):
        return _FileSink(how.removeprefix("file:"), LineSink(every))
    if how == "json":
        return LineSink(every, as_json=True)
    if (how == "bar" or (how != "lines" and sys.stdout.isatty())) and _has_tqdm():
        return _BarSink()
    return LineSink(every)


def _has_tqdm() -> bool:
    try:
        import tqdm  # noqa: F401
    except ImportError:
        return False
    return True
