"""What a person sees of a job on this machine: its lines, short, and on a terminal a live bar below them.

The log file has every line as the script and the toolkit wrote it.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from thorax.job import environment
from thorax.tracking import metric_log
from thorax.tracking.progress import HOW, Bar, State
from thorax_launch.local.configuration import readable
from thorax_launch.local.toolkit import show

#: The toolkit's own lines; after its ERROR come the command line and the script's message once more.
_TOOLKIT = re.compile(r"sagemaker-training-toolkit\s+(\w+)\s")
#: What the script writes for logs while the bar shows it.
_PROGRESS = re.compile(r"^[^:]+: \w+ [\d,]+/[\d,]+(, |$)")
#: Lines of the script that the launcher says itself at the end.
_TOLD_AGAIN = ("bundle: ", "report: ")
#: The script's last line where it was stopped: by the launcher, which passes Ctrl-C on as SIGTERM.
_STOPPED = re.compile(r"^stopped by SIGTERM at (.*?); checkpoint saved in ")
#: A line of the script that says why it ends; the launcher shows it last.
_ERROR = "error: "


def draws_bar() -> bool:
    """Whether this launcher draws a bar: on a terminal, unless the user wants lines or JSON lines."""
    return sys.stdout.isatty() and environment().get(HOW, "bar") == "bar"


class Lines:
    """Which lines of a run a person sees, and how.

    Args:
        log: the file that has all of them.
        recipe: the recipe's hyperparameters.
        bar: whether a bar shows the progress, so that lines of progress are left out.

    Attributes:
        held: what came after the script's error, or was that error: shown only where the run did not fail.
    """

    def __init__(self, log: Path, recipe: Mapping[str, str], bar: bool) -> None:
        self.log, self.recipe, self.bar = log, recipe, bar
        self.held: list[str] = []

    def read(self, line: str) -> str | None:
        """The line as it is shown; None where it is not."""
        if line.startswith(f"warning: {self.log} "):  # the launcher's own
            return line
        if self.held or line.startswith(_ERROR):
            self.held.append(line)
            return None
        if toolkit := _TOOLKIT.search(line):
            if toolkit[1] == "ERROR":
                self.held.append(line)
            return None
        if (self.bar and _PROGRESS.match(line)) or line.startswith(_TOLD_AGAIN):
            return None
        if stopped := _STOPPED.match(line):
            return f"stopped at {stopped[1]}; a checkpoint is saved"
        shown = metric_log.readable(line)
        return None if shown is None else readable(shown, self.log, self.recipe)


class Display:
    """Shows lines, and below them the bar of the progress that a script keeps in a file.

    Args:
        progress: that file now; None: nothing runs.
        title: put before what the bar says, such as a job's name.
    """

    def __init__(self, progress: Callable[[], Path | None], title: Callable[[], str] = lambda: "") -> None:
        self.progress, self.title = progress, title
        self.live = draws_bar()
        self._bar, self._lock, self._end = Bar(), threading.Lock(), threading.Event()
        self._began = self._heard = time.monotonic()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        if self.live:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        if self.live:
            self._thread.join()
            self._bar.clear()

    def show(self, text: str) -> None:
        """Prints whole lines, above the bar."""
        self._heard = time.monotonic()
        if not self.live:
            show(text)
            return
        with self._lock, suppress(BrokenPipeError, ValueError):
            self._bar.write(text)

    def _follow(self) -> None:
        while not self._end.wait(0.2):
            state = self._state()
            with self._lock, suppress(OSError, ValueError):  # the terminal is gone: the run and its log go on
                self._bar.show(state)

    def _state(self) -> State:
        file, named = self.progress(), self.title()
        before = f"{named} " if named else ""
        try:
            text = file.read_text(encoding="utf-8") if file else ""
            if text:
                state = State(**json.loads(text))
                return State(**{**vars(state), "title": before + state.title})
        except FileNotFoundError:
            return State(f"{before}starting", note=f"{time.monotonic() - self._began:.0f} s")
        except (OSError, ValueError, RecursionError, TypeError):
            pass
        return State(f"{before}working", note=f"{time.monotonic() - self._heard:.0f} s since the last line")
