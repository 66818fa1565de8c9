"""The trackers' own process: reads the run's messages, one line of JSON each, and passes them to the trackers.

Output of the tracking libraries is discarded; log lines and ids to remember go back to the run over standard output.
The process ends with its input, also where the run was killed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TextIO

from thorax.tracking.observers import one_line
from thorax.tracking.trackers.tracker import (
    FinishMessage,
    Message,
    MetricsMessage,
    RunLink,
    StartMessage,
    Tracker,
    from_line,
)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # the run decides when it ends, and then sends FinishMessage
        signal.signal(number, signal.SIG_IGN)
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    discard = os.open(os.devnull, os.O_WRONLY)
    os.dup2(discard, 1)
    os.dup2(discard, 2)
    serve(sys.stdin, output)


def serve(lines: TextIO, output: TextIO) -> None:
    """Passes messages on until FinishMessage; an input that ends before it is a failed run."""
    host = TrackerHost(output)
    for line in lines:
        message = from_line(line)
        host.receive(message)
        if isinstance(message, FinishMessage):
            return
    host.receive(FinishMessage("failed"))


class TrackerHost:
    """The trackers that work.

    Args:
        output: gets replies, one line of JSON each: {"say": line} or {"remember": key, "value": text}.
    """

    def __init__(self, output: TextIO) -> None:
        self.output = output
        self.trackers: dict[str, Tracker] = {}
        self.install: dict[str, str] = {}

    def receive(self, message: Message) -> None:
        if isinstance(message, StartMessage):
            self.install[message.tracker] = message.install
            self._attempt(message.tracker, self._start, message)
            return
        for name, tracker in list(self.trackers.items()):
            if isinstance(message, MetricsMessage):
                self._attempt(name, tracker.log, message)
            else:
                self._attempt(name, tracker.finish, message)

    def _start(self, message: StartMessage) -> None:
        module, qualified_name = message.tracker_class.split(":")
        tracker_class: Any = importlib.import_module(module)
        for name in qualified_name.split("."):
            tracker_class = getattr(tracker_class, name)
        link = RunLink(
            say=lambda line: self._reply(say=line), remember=lambda key, value: self._reply(remember=key, value=value)
        )
        self.trackers[message.tracker] = tracker_class(message, link)

    def _attempt(self, name: str, function: Callable[[Any], None], message: Message) -> None:
        """Calls the function; a tracker that raises is removed with one warning line."""
        try:
            function(message)
        except Exception as error:
            self.trackers.pop(name, None)
            if isinstance(error, ImportError) and self.install[name]:
                self._reply(say=f"warning: {name} is off: {one_line(error)}; run: pip install {self.install[name]}")
            else:
                self._reply(say=f"warning: {name} failed ({one_line(error)}); the run goes on without it")

    def _reply(self, **content: str) -> None:
        with contextlib.suppress(OSError):  # the run has ended
            print(json.dumps(content), file=self.output, flush=True)


if __name__ == "__main__":
    main()
