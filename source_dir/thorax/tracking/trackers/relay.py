"""The run's end of the trackers: an observer that sends what it is told to their process, and never waits for it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax.job import Job
from thorax.tracking.observers import Observer

#: Seconds that the trackers have at the end of a run to send what is left.
FINISH_SECONDS = 120.0
#: Steps from one training loss that is sent to the next.
STEPS = 10
#: Messages that may wait for a process that hangs; more are dropped.
WAITING = 10_000
SOURCE_DIR = Path(__file__).resolve().parents[3]
_CODE = (
    f"import sys; sys.path.insert(0, {str(SOURCE_DIR)!r}); from thorax.tracking.trackers.process import main; main()"
)


class Relay(Observer):
    """Trackers of a run; made in the main process only.

    Args:
        job: paths and name. What trackers want to know again in a resumed run lies in checkpoint_dir/tracking.json.
        configuration: the hyperparameters.
        trackers: the name of each (see process.KINDS) -> its settings.
        say: takes lines for the log.
        command: the trackers' process; tests have their own.
    """

    name = "tracking"

    def __init__(
        self,
        job: Job,
        configuration: Mapping[str, Any],
        trackers: Mapping[str, Mapping[str, str]],
        say: Callable[[str], None],
        command: list[str] | None = None,
        finish_seconds: float = FINISH_SECONDS,
    ) -> None:
        self.job, self.configuration, self.trackers, self.say = job, dict(configuration), trackers, say
        self.finish_seconds = finish_seconds
        self.memory = job.checkpoint_dir / "tracking.json"
        self.remembered = self._recall()
        self.messages: queue.Queue[str | None] = queue.Queue(WAITING)
        self.process = subprocess.Popen(
            command or [sys.executable, "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            cwd=job.output_dir,  # what a library writes where it stands never lands in the code
        )
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._write, self._read)]
        for thread in self.threads:
            thread.start()

    # -- What happens ----------------------------------------------------------------------------------------------

    def start(self, step: int, steps: int) -> None:
        self._send(
            do="start",
            name=self.job.name,
            configuration=self.configuration,
            output_dir=str(self.job.output_dir.absolute()),
            step=step,
            remembered=self.remembered,
            trackers=self.trackers,
        )

    def step(self, step: int, loss: float | None, learning_rate: float) -> None:
        if loss is not None and (step % STEPS == 0 or step == 1):
            self._log(step, {"train/step_loss": loss, "train/step_learning_rate": learning_rate})

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        self._log(
            step,
            {
                key.replace("_", "/", 1) if key.startswith(("train_", "validation_")) else key: value
                for key, value in row.items()
            },
        )

    def close(self, outcome: str) -> None:
        done = outcome == "finished"
        plots = {file.stem: str(file.absolute()) for file in sorted(self.job.output_dir.glob("*.png"))} if done else {}
        self._send(
            do="finish",
            outcome=outcome,
            summary=self._scores() if done else {},
            plots=plots,
            bundle=str(self.job.model_dir.absolute()) if done else None,
        )
        with contextlib.suppress(queue.Full):
            self.messages.put_nowait(None)
        try:
            self.process.wait(self.finish_seconds)
        except subprocess.TimeoutExpired:
            self.say(
                f"warning: {', '.join(self.trackers)} did not finish in {self.finish_seconds:.0f} seconds and was"
                f" ended; its files are in {self.job.output_dir}"
            )
        with contextlib.suppress(OSError):  # its children too
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.threads[1].join(5)

    # -- How it is told --------------------------------------------------------------------------------------------

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        self._send(do="log", step=step, values={key: value for key, value in values.items() if math.isfinite(value)})

    def _send(self, **message: Any) -> None:
        with contextlib.suppress(queue.Full):
            self.messages.put_nowait(json.dumps(message))

    def _write(self) -> None:
        assert self.process.stdin
        with contextlib.suppress(OSError, ValueError):  # the process is gone
            while (line := self.messages.get()) is not None:
                self.process.stdin.write(line + "\n")
                self.process.stdin.flush()
            self.process.stdin.close()

    def _read(self) -> None:
        assert self.process.stdout
        with contextlib.suppress(ValueError):  # closed, or not a message of ours
            for line in self.process.stdout:
                message = json.loads(line)
                if "say" in message:
                    self.say(message["say"])
                else:
                    self.remembered[message["remember"]] = message["value"]
                    with contextlib.suppress(ThoraxError):  # the disk is full: a resumed run will be a new one there
                        write_whole(json.dumps(self.remembered).encode(), self.memory, "trackers' ids")

    def _recall(self) -> dict[str, str]:
        try:
            stored = json.loads(self.memory.read_text(encoding="utf-8"))
            return {str(key): str(value) for key, value in stored.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def _scores(self) -> dict[str, float]:
        """{"final/test_auc": ...}: the final scores of all labels together, as metrics.json has them."""
        try:
            stored = json.loads((self.job.output_dir / "metrics.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        scores = {"final/best_epoch": float(stored["best_epoch"])}
        for part in ("validation", "test"):
            for name, score in stored.get(part, {}).get("macro", {}).items():
                if (
                    isinstance(score, dict)
                    and isinstance(value := score.get("value"), int | float)
                    and math.isfinite(value)
                ):
                    scores[f"final/{part}_{name}"] = float(value)
        return scores
