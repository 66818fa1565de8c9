"""Rules that judge a run by its records and history, while it trains or afterwards; named as SageMaker Debugger's.

Each rule reports once. The thresholds are ours, chosen so that healthy runs give no finding.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import ClassVar

from thorax.config.debug_rules import chosen_rules
from thorax.text import are, counted
from thorax.tracking.health.device_rules import DeadRelu, GpuMemoryGrowth
from thorax.tracking.health.records import HealthRecord, HealthRule
from thorax.tracking.observers import Finding

#: What is to be done where no weight can help.
_CHECK = "check the labels, or leave this one out (labels=...)"
Shapes = Mapping[str, tuple[int, ...]]


class LossNotDecreasing(HealthRule):
    """The last 10 saved losses are not below the first 10, at the ends of 3 epochs in a row or at the run's end.

    That is: their median is lower by less than 1 %, or in under 72 of the 100 pairs of a first and a last loss the last
    one is lower (Wilcoxon's rank-sum test, 5 %). Judged from 20 saved losses on; one epoch may be noise, or warm-up. A
    loss below half of that of guessing is low already: a run that starts from a good network has little to gain.
    """

    name = "loss_not_decreasing"
    PARAMETERS: ClassVar = {"percent": "PERCENT", "patience": "PATIENCE"}
    WINDOW, PAIRS, PERCENT, PATIENCE, LOW = 10, 72, 1.0, 3, 0.5

    def __init__(self, baseline: float | None) -> None:
        self.first: list[float] = []
        self.last: deque[float] = deque(maxlen=self.WINDOW)
        self.baseline, self.times = baseline, 0

    def record(self, r: HealthRecord) -> str | None:
        if math.isfinite(r.loss):
            window = self.first if len(self.first) < self.WINDOW else self.last
            window.append(r.loss)
        return None

    def epoch(self, row: Mapping[str, float]) -> str | None:
        if len(self.last) < self.WINDOW:
            return None
        before, now = median(self.first), median(self.last)
        falls = (
            now <= (1 - self.PERCENT / 100) * before and sum(a > b for a in self.first for b in self.last) >= self.PAIRS
        )
        low = self.baseline is not None and now < self.LOW * self.baseline
        self.times = 0 if falls or low else self.times + 1
        return self._message(before, now) if self.times >= self.PATIENCE else None

    def end(self) -> str | None:
        return self._message(median(self.first), median(self.last)) if self.times else None

    def _message(self, before: float, now: float) -> str:
        return (
            f"the training loss does not fall: {_loss(before)} in the first {self.WINDOW} saved steps, {_loss(now)} in"
            f" the last {self.WINDOW}; raise or lower learning_rate, check the labels"
        )


class VanishingGradient(HealthRule):
    """A weight's gradient has a root mean square below 1e-7 (or is 0) in 3 saved steps in a row, while the loss is
    above a tenth of its first value."""

    name = "vanishing_gradient"
    PARAMETERS: ClassVar = {"least": "LEAST", "times": "TIMES"}
    LEAST, TIMES = 1e-7, 3

    def __init__(self, shapes: Shapes) -> None:
        self.sizes = _weight_sizes(shapes)
        self.times: dict[str, int] = {}
        self.loss: float | None = None

    def record(self, r: HealthRecord) -> str | None:
        self.loss = r.loss if self.loss is None else self.loss
        for name, size in self.sizes.items():
            norm = r.gradients.get(name)
            small = norm is not None and norm / math.sqrt(size) < self.LEAST and r.loss > 0.1 * self.loss
            self.times[name] = self.times.get(name, 0) + 1 if small else 0
        vanished = [name for name, times in self.times.items() if times >= self.TIMES]
        if not vanished:
            return None
        more = f" and {counted(len(vanished) - 1, 'more parameter')}" if vanished[1:] else ""
        return (
            f"the gradient of {vanished[0]}{more} {are(len(vanished))} below {self.LEAST:.7f} (root mean square) in"
            f" {self.TIMES} saved"
            " steps in a row, so it does not learn; start from other weights, or raise warmup_epochs"
        )


class ExplodingTensor(HealthRule):
    """A value is not finite, or grows far beyond its first value.

    That is: the loss or a weight is not finite; gradients are not finite in 3 saved steps in a row (once is usual with
    float16); a parameter's norm is 100 times its first one and its root mean square above 1 (a bias that starts at 0
    grows without harm); the loss is over 10 times its first one for 3 saved steps.
    """

    name = "exploding_tensor"
    PARAMETERS: ClassVar = {"growth": "GROWTH", "loss": "LOSS", "times": "TIMES"}
    GROWTH, LOSS, TIMES = 100.0, 10.0, 3
    ADVICE = "lower learning_rate, or set clip_grad_norm=1"

    def __init__(self, shapes: Shapes) -> None:
        self.sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        self.first: HealthRecord | None = None
        self.times, self.high = 0, 0

    def record(self, r: HealthRecord) -> str | None:
        self.first = self.first or r
        self.times = 0 if all(map(math.isfinite, r.gradients.values())) else self.times + 1
        self.high = self.high + 1 if r.loss > self.LOSS * max(self.first.loss, 0.1) else 0
        if not math.isfinite(r.loss):
            return f"the loss is not finite; {self.ADVICE}"
        if broken := next((name for name, norm in r.weights.items() if not math.isfinite(norm)), None):
            return f"{broken} is not finite; {self.ADVICE}"
        if self.times >= self.TIMES:
            return f"the gradient is not finite; {self.ADVICE}"
        for name, norm in r.weights.items():
            first, least = self.first.weights.get(name, norm), math.sqrt(self.sizes.get(name, 1))
            if norm > self.GROWTH * first and norm > least:
                return f"the norm of {name} grew from {first:.3g} to {norm:.3g}; {self.ADVICE}"
        if self.high >= self.TIMES:
            return f"the loss grew from {self.first.loss:.3g} to {r.loss:.3g}; {self.ADVICE}"
        return None

    def epoch(self, row: Mapping[str, float]) -> str | None:
        finite = math.isfinite(row.get("validation_loss", 0.0))
        return None if finite else f"the validation loss is not finite; {self.ADVICE}"


class Overfit(HealthRule):
    """For 3 epochs the validation loss is over 1.1 times its lowest, and does not come down again, while the training
    loss is lower than then.

    A fall by more than a twentieth begins the count anew: a validation loss that comes down is no finding, however high
    it is still.
    """

    name = "overfit"
    PARAMETERS: ClassVar = {"ratio": "RATIO", "patience": "PATIENCE"}
    RATIO, PATIENCE, FALL = 1.1, 3, 0.95

    def __init__(self) -> None:
        self.best, self.train, self.times, self.before, self.at = math.inf, math.inf, 0, math.inf, 0

    def epoch(self, row: Mapping[str, float]) -> str | None:
        validation, train = row.get("validation_loss", math.nan), row.get("train_loss", math.nan)
        before, self.before = self.before, validation
        if validation < self.best:
            self.best, self.train, self.times, self.at = validation, train, 0, int(row.get("epoch", 0))
            return None
        over = validation > self.RATIO * self.best and train < self.train
        self.times = 0 if not over else 1 if validation < self.FALL * before else self.times + 1
        if self.times < self.PATIENCE:
            return None
        when = f" in epoch {self.at}" if self.at else ""
        return (
            f"the validation loss was lowest{when} ({_loss(self.best)}) and has been over {self.RATIO} times that for"
            f" {self.PATIENCE} epochs (now {_loss(validation)}), while the training loss fell from {_loss(self.train)}"
            f" to {_loss(train)}; more augmentation_strength, weight_decay or dropout, or early_stopping=true"
        )


class PoorInitialisation(HealthRule):
    """The run's first step shows bad starting weights.

    That is: the loss is over 3 times that of guessing (logits of 0); a weight is all zeros; or the root mean
    squares of two weights' gradients differ by a factor over 100,000.
    """

    name = "poor_initialisation"
    PARAMETERS: ClassVar = {"loss": "LOSS", "spread": "SPREAD"}
    LOSS, SPREAD = 3.0, 1e5

    def __init__(self, shapes: Shapes, baseline: float | None) -> None:
        self.sizes, self.baseline = _weight_sizes(shapes), baseline

    def record(self, r: HealthRecord) -> str | None:
        if r.step != 1:
            return None
        if self.baseline and r.loss > self.LOSS * self.baseline:
            return (
                f"the first loss is {r.loss:.3f}, {r.loss / self.baseline:.1f} times that of guessing"
                f" ({self.baseline:.3f}); check weights and preprocessing"
            )
        if zero := [name for name in self.sizes if r.weights.get(name) == 0.0]:
            return (
                f"{zero[0]} is all zeros at the start, so what lies before it learns nothing; start from other weights"
            )
        rms = {
            name: r.gradients[name] / math.sqrt(size)
            for name, size in self.sizes.items()
            if r.gradients.get(name, 0.0) > 0
        }
        if rms and max(rms.values()) > self.SPREAD * min(rms.values()):
            most, least = max(rms, key=rms.__getitem__), min(rms, key=rms.__getitem__)
            return (
                f"the first gradients are {rms[most] / rms[least]:.0f} times larger in {most} than in {least};"
                " start from other weights"
            )
        return None


class Rules:
    """All rules on one run.

    Args:
        shapes: parameter -> shape.
        baseline: training loss of guessing, which is that of logits of 0; None: unknown.
        report: gets each finding as it is made.
        chosen: rule -> its parameters, see config.debug_rules.chosen_rules; None: the usual ones.
    """

    def __init__(
        self,
        shapes: Shapes,
        baseline: float | None = None,
        report: Callable[[Finding], None] = lambda finding: None,
        chosen: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        wanted = chosen_rules(()) if chosen is None else chosen
        every: list[HealthRule] = [
            PoorInitialisation(shapes, baseline),
            ExplodingTensor(shapes),
            VanishingGradient(shapes),
            LossNotDecreasing(baseline),
            Overfit(),
            GpuMemoryGrowth(),
            DeadRelu(),
        ]
        self.rules = [rule for rule in every if rule.name in wanted]
        for rule in self.rules:
            for parameter, value in wanted[rule.name].items():
                setattr(rule, rule.PARAMETERS[parameter], value)
        self.findings: list[Finding] = []
        self.report = report

    def record(self, record: HealthRecord) -> None:
        self._apply(record.step, lambda rule: rule.record(record))

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        self._apply(step, lambda rule: rule.epoch(row))

    def end(self, step: int) -> None:
        self._apply(step, lambda rule: rule.end())

    def _apply(self, step: int, judged: Callable[[HealthRule], str | None]) -> None:
        for rule in list(self.rules):
            if message := judged(rule):
                self.rules.remove(rule)
                self.add(rule.name, step, message)

    def add(self, rule: str, step: int, message: str) -> None:
        self.findings.append({"rule": rule, "step": step, "message": message})
        self.report(self.findings[-1])


def class_imbalance(counts: Mapping[str, tuple[int, int]], ratio: float = 10.0, exclusive: bool = False) -> str | None:
    """A message where a label has over `ratio` images without it for each image with it, or the other way round; of
    exclusive classes, where the largest has over `ratio` times the images of the smallest.

    Args:
        counts: label -> (images that have it, images known not to).
        exclusive: each image has one of three or more classes.
    """
    advice = "use_weighted_loss=true or balanced_sampler=true makes up for it"
    if exclusive:
        most, least = (pick(counts, key=lambda name: counts[name][0]) for pick in (max, min))
        if counts[most][0] <= ratio * counts[least][0]:
            return None
        if not counts[least][0]:
            return f"{least} has no image for training: nothing is learned about it; {_CHECK}"
        return f"{most} has {counted(counts[most][0], 'image')} for training and {least} {counts[least][0]:,}; {advice}"
    rare = {name: (yes, no) for name, (yes, no) in counts.items() if max(yes, no) > ratio * min(yes, no)}
    if not rare:
        return None
    name = max(rare, key=lambda label: max(rare[label]) / max(min(rare[label]), 1))
    yes, no = rare[name]
    if not min(yes, no):
        share = "none of the" if no else "all of the"
        return f"{name} is on {share} {counted(yes + no, 'image')} for training: nothing is learned about it; {_CHECK}"
    verb = "is" if len(rare) == 1 else "are"
    more = f" ({len(rare)} of {len(counts)} labels {verb} over {ratio:.0f} to 1)" if len(counts) > 1 else ""
    return f"{name} is on {yes:,} of {counted(yes + no, 'image')} for training{more}; {advice}"


def judge(
    shapes: Shapes,
    records: Sequence[HealthRecord],
    history: Sequence[Mapping[str, float]],
    baseline: float | None = None,
) -> list[Finding]:
    """The findings on a finished run: its records by step, then its epochs.

    Without a history one epoch without values is judged, so only rules that read nothing of it report.
    """
    rules = Rules(shapes, baseline)
    for record in records:
        rules.record(record)
    last = records[-1].step if records else 0
    for row in history or [{}]:
        rules.epoch(row, last)
    rules.end(last)
    return rules.findings


def _loss(value: float) -> str:
    """A loss as people read it: four decimals, or three digits where it is far too large."""
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.3g}"


def _weight_sizes(shapes: Shapes) -> dict[str, int]:
    """Values of each parameter that is a weight and no bias or scale."""
    return {name: math.prod(shape) for name, shape in shapes.items() if len(shape) > 1}
