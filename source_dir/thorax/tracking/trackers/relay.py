"""The observer that reports a run to its trackers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax.job import Job
from thorax.tracking.observers import Observer
from thorax.tracking.trackers import TRACKERS
from thorax.tracking.trackers.connection import TrackerProcess
from thorax.tracking.trackers.tracker import FinishMessage, MetricsMessage, StartMessage

#: Steps from one training loss that is sent to the next.
STEPS = 10


class Relay(Observer):
    """Sends a run's configuration, metrics and files to the trackers' process; used in the main process only.

    Args:
        config: the hyperparameters.
        job: paths and name. What trackers want to remember for a resumed run is in checkpoint_dir/tracking.json.
        trackers: name in TRACKERS -> settings.
        say: takes log lines.
        connect: starts the trackers' process from (folder, receive); tests start their own.
    """

    name = "tracking"

    def __init__(
        self,
        config: TrainingConfig,
        job: Job,
        trackers: Mapping[str, Mapping[str, str]],
        say: Callable[[str], None],
        connect: Callable[[Path, Callable[[Mapping[str, str]], None]], TrackerProcess] = TrackerProcess,
    ) -> None:
        self.config, self.job, self.trackers, self.say = config, job, trackers, say
        self.memory = job.checkpoint_dir / "tracking.json"
        self.remembered = _read_memory(self.memory)
        self.process = connect(job.output_dir, self._receive)

    def start(self, step: int, steps: int) -> None:
        for name, settings in self.trackers.items():
            message = StartMessage(
                tracker=name,
                tracker_class=TRACKERS[name].path,
                install=TRACKERS[name].install,
                name=self.job.name,
                configuration=self.config.to_dict(),
                output_dir=str(self.job.output_dir.absolute()),
                step=step,
                remembered=self.remembered,
                settings=settings,
            )
            self.process.send(message)

    def step(self, step: int, loss: float | None, learning_rate: float) -> None:
        if loss is not None and (step % STEPS == 0 or step == 1):
            self._log(step, {"train/step_loss": loss, "train/step_learning_rate": learning_rate})

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        grouped = ("train_", "validation_")
        self._log(step, {k.replace("_", "/", 1) if k.startswith(grouped) else k: value for k, value in row.items()})

    def close(self, outcome: str) -> None:
        output, finish = self.job.output_dir, FinishMessage(outcome)
        if outcome == "finished":
            plots = {file.stem: str(file.absolute()) for file in sorted(output.glob("*.png"))}
            scores = _final_scores(output / "metrics.json")
            finish = FinishMessage(outcome, scores, plots, str(self.job.model_dir.absolute()))
        self.process.send(finish)
        if not self.process.close():
            self.say(
                f"warning: {', '.join(self.trackers)} did not finish in {self.process.finish_seconds:.0f} seconds and"
                f" was ended; its files are in {output}"
            )

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        self.process.send(MetricsMessage(step, {key: value for key, value in values.items() if math.isfinite(value)}))

    def _receive(self, reply: Mapping[str, str]) -> None:
        if "say" in reply:
            self.say(reply["say"])
            return
        self.remembered[reply["remember"]] = reply["value"]
        with suppress(ThoraxError):  # the disk is full: a resumed run will be a new one there
            write_whole(json.dumps(self.remembered).encode(), self.memory, "trackers' ids")


def _read_memory(file: Path) -> dict[str, str]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in stored.items()}
    except (OSError, ValueError, RecursionError, AttributeError):
        return {}


def _final_scores(file: Path) -> dict[str, float]:
    """{"final/test_auc": ...}: the final scores of all labels together, of metrics.json."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    scores = {"final/best_epoch": float(stored["best_epoch"])}
    for part in ("validation", "test"):
        for name, score in stored.get(part, {}).get("macro", {}).items():
            value = score.get("value") if isinstance(score, dict) else None
            if isinstance(value, int | float) and math.isfinite(value):
                scores[f"final/{part}_{name}"] = float(value)
    return scores
