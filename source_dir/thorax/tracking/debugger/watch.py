"""The debugger as an observer of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from thorax.files import write_whole
from thorax.job import Job
from thorax.tracking.debugger.records import Recorder, measure, shapes
from thorax.tracking.debugger.rules import ExplodingTensor, Finding, Rules, class_imbalance
from thorax.tracking.observers import Observer, one_line


class Debugger(Observer):
    """Saves losses, gradients and weights of some steps, in every process; the main one judges them.

    Args:
        job: records go to output_dir/debugger/worker_<rank>.jsonl, findings to findings.json there.
        interval: steps between saved steps; None: about 500 saved steps in the run.
        weighted: the run weighs rare classes up itself.
        say: takes lines for the log.
    """

    name = "debugging"

    def __init__(self, job: Job, interval: int | None, weighted: bool, say: Callable[[str], None]) -> None:
        self.job, self.interval, self.weighted, self.say = job, interval, weighted, say
        self.folder = job.output_dir / "debugger"
        self.hook: Any = None
        self.saved = 0

    def attach(self, trainer: Any) -> None:
        self.recorder = Recorder(self.folder / f"worker_{self.job.process.rank}.jsonl", shapes(trainer.net))
        self.rules = Rules(shapes(trainer.net), _chance(trainer), self._found)
        images = trainer.train_images
        counts = {
            name: (int((y == 1).sum()), int((y == 0).sum()))
            for name, y in zip(images.space.outputs, images.targets.T, strict=True)
        }
        if not self.weighted and (message := class_imbalance(counts)):
            self.rules.add("class_imbalance", 0, message)
        if self.job.debug_hook_file is not None:
            self._hook(trainer.net)

    def _hook(self, net: Any) -> None:
        try:
            from thorax.tracking.debugger.smdebug_hook import SmdebugHook

            self.hook = SmdebugHook(str(self.job.debug_hook_file), net)
            self.say(f"debugging: smdebug saves tensors to {self.hook.folder} as {self.job.debug_hook_file} says")
        except Exception as error:  # protobuf raises TypeError where smdebug is not fixed
            self.say(
                f"warning: smdebug, which {self.job.debug_hook_file} asks for, does not work ({one_line(error)}); our"
                " own recorder goes on"
            )

    def start(self, step: int, steps: int) -> None:
        self.interval = self.interval or max(1, steps // 500)
        self.first = step + 1
        if self.hook is not None:
            self.hook.start(step)

    def gradients(self, step: int, loss: Any, net: Any) -> None:
        if step == self.first or step % (self.interval or 1) == 0:
            record = measure(step, loss, net)
            self.recorder.write(record)
            self.saved += 1
            self.rules.record(record)
        if self.hook is not None:
            try:
                self.hook.save(loss, net)
            except Exception as error:
                self.hook = None
                self.say(f"warning: smdebug failed ({one_line(error)}); our own recorder goes on")

    def step(self, step: int, loss: float | None, learning_rate: float) -> None:
        if (
            loss is not None
            and not math.isfinite(loss)
            and not any(f["rule"] == ExplodingTensor.name for f in self.rules.findings)
        ):
            self.rules.add(ExplodingTensor.name, step, f"the loss is not finite; {ExplodingTensor.ADVICE}")

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        self.rules.epoch(row, step)

    def close(self, outcome: str) -> None:
        self.recorder.close()
        if self.hook is not None:
            self.hook.close()
        if self.job.process.is_main:
            self._write()
            self.say(
                f"debugging: {self.saved} steps saved in {self.folder}, {len(self.rules.findings) or 'no'} finding(s)"
            )

    def findings(self) -> list[Finding]:
        return list(self.rules.findings)

    def _found(self, finding: Finding) -> None:
        if self.job.process.is_main:
            self.say(f"finding: {finding['rule']} at step {finding['step']}: {finding['message']}")
            self._write()

    def _write(self) -> None:
        rules = getattr(self, "rules", None)
        write_whole(
            json.dumps(rules.findings if rules else [], indent=1).encode(), self.folder / "findings.json", "findings"
        )


def _chance(trainer: Any) -> float:
    """The training loss of zero logits, with the run's own weights and smoothing."""
    import torch

    targets = trainer.targets.to(trainer.device)
    return float(trainer.loss.sum(torch.zeros_like(targets), targets).item() / max(trainer.loss.count(targets), 1))
