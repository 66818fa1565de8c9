"""The trackers' own process: reads messages of the run, a JSON line each, and hands them to the trackers.

The libraries' own chatter goes nowhere; a line for the run's log and ids to remember go back over standard output.
The process ends with its input, also where the run was killed.
"""

from __future__ import annotations

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
    trackers: dict[str, Tracker] = {}

    def tell(message: Mapping[str, Any]) -> None:
        try:
            print(json.dumps(message), file=back, flush=True)
        except OSError:  # the run is gone
            pass

    def guarded(name: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except ImportError as error:
            tell({"say": f"warning: {name} is off: {one_line(error)}; run: pip install {KINDS[name][1]}"})
        except Exception as error:
            tell({"say": f"warning: {name} failed ({one_line(error)}); the run goes on without it"})
        trackers.pop(name, None)
        return None

    what = Tell(lambda line: tell({"say": line}), lambda key, value: tell({"remember": key, "value": value}))
    for line in messages:
        m = json.loads(line)
        if m["do"] == "start":
            for name, settings in m["trackers"].items():
                start = Start(m["name"], m["configuration"], Path(m["output_dir"]), m["step"], m["remembered"], settings)
                made = guarded(name, lambda name=name, start=start: KINDS[name][0](start, what))
                if made is not None:
                    trackers[name] = made
        elif m["do"] == "log":
            for name, tracker in list(trackers.items()):
                guarded(name, lambda tracker=tracker: tracker.log(m["step"], m["values"]))
        else:
            plots = {key: Path(file) for key, file in m["plots"].items()}
            bundle = Path(m["bundle"]) if m["bundle"] else None
            for name, tracker in list(trackers.items()):
                guarded(name, lambda tracker=tracker: tracker.finish(m["outcome"], m["summary"], plots, bundle))
            return
    for name, tracker in list(trackers.items()):
        guarded(name, lambda tracker=tracker: tracker.finish("failed", {}, {}, None))


if __name__ == "__main__":
    main()
