"""The trackers' own process: reads messages of the run, a JSON line each, and hands them to the trackers.

The libraries' own chatter goes nowhere; a line for the run's log and ids to remember go back over standard output.
The process ends with its input, also where the run was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from thorax.tracking.observers import one_line
from thorax.tracking.trackers.mlflow_run import MLflowRun
from thorax.tracking.trackers.tensorboard_log import TensorBoardLog
from thorax.tracking.trackers.tracker import Start, Tell, Tracker
from thorax.tracking.trackers.wandb_run import WandbRun

#: Name -> its class and the package that it needs.
KINDS: dict[str, tuple[Callable[[Start, Tell], Tracker], str]] = {
    "W&B": (WandbRun, "wandb"),
    "TensorBoard": (TensorBoardLog, "tensorboard"),
    "MLflow": (MLflowRun, "mlflow-skinny"),
}


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # the run decides when it ends, and then tells us
        signal.signal(number, signal.SIG_IGN)
    back = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    serve(sys.stdin, back)


def serve(messages: TextIO, back: TextIO) -> None:
    """Hands messages on until "finish" or the end of the input."""
    hosted = Hosted(back)
    for line in messages:
        message = json.loads(line)
        if message["do"] == "start":
            hosted.start(message)
        elif message["do"] == "log":
            hosted.each("log", message["step"], message["values"])
        else:
            plots = {key: Path(file) for key, file in message["plots"].items()}
            hosted.each(
                "finish",
                message["outcome"],
                message["summary"],
                plots,
                Path(message["bundle"]) if message["bundle"] else None,
            )
            return
    hosted.each("finish", "failed", {}, {}, None)


class Hosted:
    """The trackers that still work."""

    def __init__(self, back: TextIO) -> None:
        self.back = back
        self.trackers: dict[str, Tracker] = {}

    def start(self, m: Mapping[str, Any]) -> None:
        what = Tell(lambda line: self.tell(say=line), lambda key, value: self.tell(remember=key, value=value))
        for name, settings in m["trackers"].items():
            start = Start(m["name"], m["configuration"], Path(m["output_dir"]), m["step"], m["remembered"], settings)
            try:
                self.trackers[name] = KINDS[name][0](start, what)
            except Exception as error:
                self.drop(name, error)

    def each(self, event: str, *what: Any) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                getattr(tracker, event)(*what)
            except Exception as error:
                self.drop(name, error)

    def drop(self, name: str, error: Exception) -> None:
        self.trackers.pop(name, None)
        if isinstance(error, ImportError):
            self.tell(say=f"warning: {name} is off: {one_line(error)}; run: pip install {KINDS[name][1]}")
        else:
            self.tell(say=f"warning: {name} failed ({one_line(error)}); the run goes on without it")

    def tell(self, **message: str) -> None:
        with contextlib.suppress(OSError):  # the run is gone
            print(json.dumps(message), file=self.back, flush=True)


if __name__ == "__main__":
    main()
