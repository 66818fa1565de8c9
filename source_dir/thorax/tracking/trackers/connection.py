"""The run's connection to the trackers' process: messages go out by a queue, so the run never waits for them."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from thorax.tracking.trackers.tracker import Message, to_line

#: Seconds that the trackers have at the end of a run to send what is left.
FINISH_SECONDS = 120.0
#: Messages that may wait for a process that hangs; more are dropped.
QUEUE_SIZE = 10_000


class TrackerProcess:
    """Starts the trackers' process.

    Args:
        folder: its working directory, so that files of a tracking library never land in the code.
        receive: gets each reply, {"say": line} or {"remember": key, "value": text}, in a thread of its own.
        command: a program in place of the trackers', for tests.
        finish_seconds: the time that `close` gives it.
    """

    def __init__(
        self,
        folder: Path,
        receive: Callable[[Mapping[str, str]], None],
        command: Sequence[str] = (),
        finish_seconds: float = FINISH_SECONDS,
    ) -> None:
        self.receive, self.finish_seconds = receive, finish_seconds
        self.messages: queue.Queue[str | None] = queue.Queue(QUEUE_SIZE)
        self.child = subprocess.Popen(
            command or _trackers_command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            cwd=folder,
        )
        self.writer, self.reader = (threading.Thread(target=work, daemon=True) for work in (self._write, self._read))
        self.writer.start()
        self.reader.start()

    def send(self, message: Message) -> None:
        self._put(to_line(message))

    def close(self) -> bool:
        """Ends the process and its children; False where it did not end by itself in time."""
        self._put(None)
        try:
            self.child.wait(self.finish_seconds)
            in_time = True
        except subprocess.TimeoutExpired:
            in_time = False
        with contextlib.suppress(OSError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        self.reader.join(5)
        return in_time

    def _put(self, line: str | None) -> None:
        with contextlib.suppress(queue.Full):
            self.messages.put_nowait(line)

    def _write(self) -> None:
        assert self.child.stdin
        with contextlib.suppress(OSError, ValueError):  # the process has ended
            while (line := self.messages.get()) is not None:
                self.child.stdin.write(line + "\n")
                self.child.stdin.flush()
            self.child.stdin.close()

    def _read(self) -> None:
        assert self.child.stdout
        with contextlib.suppress(ValueError, KeyError, TypeError):  # closed, or not a reply
            for line in self.child.stdout:
                self.receive(json.loads(line))


def _trackers_command() -> list[str]:
    """Runs process.main with this process's import path."""
    paths = [os.path.abspath(path) for path in sys.path]
    code = f"import sys; sys.path[:] = {paths!r}; from thorax.tracking.trackers.process import main; main()"
    return [sys.executable, "-c", code]
