"""The health monitor: the observer that saves losses, gradients and weights, and judges them by rules."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from thorax.config import TrainingConfig
from thorax.config.debug_rules import RULES, chosen_rules
from thorax.files import write_whole
from thorax.job import Job, environment
from thorax.text import counted
from thorax.tracking.health import smdebug_shim
from thorax.tracking.health.device_rules import Zeros
from thorax.tracking.health.records import HealthRecord, Recorder, measure, read, shapes
from thorax.tracking.health.rules import ExplodingTensor, Rules, class_imbalance
from thorax.tracking.health.smdebug_hook import SmdebugHook
from thorax.tracking.observers import Finding, Observer, TrainerView, one_line


class HealthMonitor(Observer):
    """Records some steps in every process; the main one writes the findings.

    Args:
        config: debug_save_interval steps lie between saved steps; None: about 500 saved steps in the run.
        job: records go to output_dir/debugger/worker_<rank>.jsonl, findings to findings.json there.
        say: takes log lines.
    """

    name = "debugging"

    def __init__(self, config: TrainingConfig, job: Job, say: Callable[[str], None]) -> None:
        self.job, self.say = job, say
        self.interval = config.debug_save_interval
        self.chosen = chosen_rules(config.debug_rules)
        self.zeros: Zeros | None = None
        self.balanced = config.use_weighted_loss or config.balanced_sampler
        self.folder = job.output_dir / "debugger"
        self.epochs, self.going_on = config.epochs, False
        self.hook: SmdebugHook | None = None
        self.saved = self.at = self.done = 0
        self.first = 1
        self.earlier: list[HealthRecord] = []

    def attach(self, trainer: TrainerView) -> None:
        images, parameters, self.trainer = trainer.train_images, shapes(trainer.net), trainer
        file = self.folder / f"worker_{self.job.process.rank}.jsonl"
        self.earlier = read(file)[1] if file.exists() else []
        self.recorder = Recorder(file, parameters)
        self.rules = Rules(parameters, _baseline_loss(trainer), self._report, self.chosen)
        if any(RULES[name].activations for name in self.chosen):
            self.zeros = Zeros(trainer.net, self._saves_next)
        counts = {
            name: (int((y == 1).sum()), int((y == 0).sum()))
            for name, y in zip(images.space.outputs, images.targets.T, strict=True)
        }
        exclusive = images.space.task == "multiclass"
        ratio = self.chosen.get("class_imbalance", {}).get("ratio", math.inf)
        if not self.balanced and (message := class_imbalance(counts, ratio, exclusive=exclusive)):
            self.rules.add("class_imbalance", 0, message)
        if self.job.debug_hook_file is not None:
            self._start_smdebug(trainer.net)

    def _start_smdebug(self, net: Any) -> None:
        file = self.job.debug_hook_file
        try:
            if environment().get(smdebug_shim.WANTED) and importlib.util.find_spec("smdebug") is None:
                self.say(f"debugging: installs {smdebug_shim.RELEASE}, without its dependencies")
                smdebug_shim.fetch()
            self.hook = SmdebugHook(str(file), net)
            self.say(f"debugging: smdebug saves tensors to {self.hook.folder} as {file} says")
        except Exception as error:  # protobuf raises TypeError where smdebug is not patched
            self.say(
                f"warning: smdebug, which {file} asks for, does not work ({one_line(error)}); our own recorder goes on"
            )

    def start(self, step: int, steps: int) -> None:
        self.interval = self.interval or max(1, steps // 500)
        self.first, self.done = step + 1, step
        self._judge_again(step, steps // self.epochs)
        if self.hook is not None:
            self.hook.start(step)

    def _judge_again(self, step: int, steps_per_epoch: int) -> None:
        """A run that goes on is judged from its beginning: what was found is kept, and not told a second time."""
        self.going_on = True
        ends = {(k + 1) * steps_per_epoch: row for k, row in enumerate(self.trainer.state.history)}
        records = {record.step: record for record in self.earlier if record.step <= step}
        for at in sorted({*ends, *records}):
            if at in records:
                self.rules.record(records[at])
            if at in ends:
                self.rules.epoch(ends[at], at)
        self.earlier, self.going_on = [], False

    def gradients(self, step: int, loss: Any, net: Any) -> None:
        self.done = step
        if self._saved(step):
            record = measure(step, loss, net)
            if self.zeros is not None:
                record = replace(record, zeros=self.zeros.take())
            self.recorder.write(record)
            self.saved += 1
            self.rules.record(record)
        if self.hook is not None:
            try:
                self.hook.save(loss, net)
            except Exception as error:
                self.hook = None
                self.say(f"warning: smdebug failed ({one_line(error)}); our own recorder goes on")

    def _saved(self, step: int) -> bool:
        return step == self.first or step % (self.interval or 1) == 0

    def _saves_next(self) -> bool:
        return self._saved(self.done + 1)

    def step(self, step: int, loss: float | None, learning_rate: float) -> None:
        found = {finding["rule"] for finding in self.rules.findings}
        if loss is not None and not math.isfinite(loss) and ExplodingTensor.name not in found:
            self.rules.add(ExplodingTensor.name, step, f"the loss is not finite; {ExplodingTensor.ADVICE}")

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        self.at = step
        self.rules.epoch(row, step)

    def close(self, outcome: str) -> None:
        if outcome == "finished":
            self.rules.end(self.at)
        self.recorder.close()
        if self.zeros is not None:
            self.zeros.close()
        if self.hook is not None:
            self.hook.close()
        if self.job.process.is_main:
            self._write()
            found = counted(len(self.rules.findings), "finding") if self.rules.findings else "no findings"
            self.say(f"debugging: {counted(self.saved, 'step')} saved in {self.folder}, {found}")

    def findings(self) -> list[Finding]:
        return list(self.rules.findings)

    def _report(self, finding: Finding) -> None:
        if self.job.process.is_main and not self.going_on:
            self.say(f"finding: {finding['rule']} at step {finding['step']}: {finding['message']}")
            self._write()

    def _write(self) -> None:
        content = json.dumps(self.rules.findings, indent=1).encode()
        write_whole(content, self.folder / "findings.json", "findings")


def _baseline_loss(trainer: TrainerView) -> float:
    """The training loss of guessing: of logits of 0, with the run's own weights and smoothing."""
    targets = torch.from_numpy(trainer.train_images.targets).to(trainer.device)
    return float(trainer.loss.sum(torch.zeros_like(targets), targets).item() / max(trainer.loss.count(targets), 1))
