"""Rules that judge a run by its records and history, live or afterwards. Named as SageMaker Debugger's built-in rules.

A rule that has spoken is silent from then on. The thresholds are ours, chosen to be silent on runs that are well.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from thorax.tracking.health.records import HealthRecord

#: {"rule": its name, "step": the optimiser step at which it was seen, "message": one line}.
Finding = dict[str, Any]
Shapes = Mapping[str, tuple[int, ...]]


class LossNotDecreasing:
    """The last 10 saved losses are not below the first 10: the median by less than 1 %, or in under 72 of the 100 pairs
    of a
    first and a last one (Wilcoxon's rank-sum test, 5 %). Judged at the ends of epochs, once 20 losses are there.
    """

    name = "loss_not_decreasing"
    WINDOW, PAIRS = 10, 72

    def __init__(self) -> None:
        self.first: list[float] = []
        self.last: deque[float] = deque(maxlen=self.WINDOW)

    def record(self, r: HealthRecord) -> str | None:
        if math.isfinite(r.loss):
            self.first.append(r.loss) if len(self.first) < self.WINDOW else self.last.append(r.loss)
        return None

    def epoch(self, row: Mapping[str, float]) -> str | None:
        if len(self.last) < self.WINDOW:
            return None
        before, now = median(self.first), median(self.last)
        if now <= 0.99 * before and sum(a > b for a in self.first for b in self.last) >= self.PAIRS:
            return None
        return (
            f"the loss does not fall: {before:.4f} over the first {self.WINDOW} saved steps, {now:.4f} over the last; "
            "raise or lower learning_rate, check the labels"
        )


class VanishingGradient:
    """A weight's gradient has a root mean square below 1e-7 (or is 0) in 3 saved steps in a row, the loss being above a
    tenth of its first value."""

    name = "vanishing_gradient"
    LEAST, TIMES = 1e-7, 3

    def __init__(self, shapes: Shapes) -> None:
        self.sizes = {name: math.prod(shape) for name, shape in shapes.items() if len(shape) > 1}
        self.times: dict[str, int] = {}
        self.loss: float | None = None

    def record(self, r: HealthRecord) -> str | None:
        self.loss = r.loss if self.loss is None else self.loss
        for name, size in self.sizes.items():
            norm = r.gradients.get(name)
            small = norm is not None and norm / math.sqrt(size) < self.LEAST and r.loss > 0.1 * self.loss
            self.times[name] = self.times.get(name, 0) + 1 if small else 0
        dead = [name for name, times in self.times.items() if times >= self.TIMES]
        if not dead:
            return None
        return (
            f"the gradient of {dead[0]} is practically 0"
            + (f", and that of {len(dead) - 1} more" if dead[1:] else "")
            + "; nothing is learned there: start from other weights, or raise learning_rate less steeply"
        )

    def epoch(self, row: Mapping[str, float]) -> str | None:
        return None


class ExplodingTensor:
    """The loss or a weight is not finite, or gradients are not in 3 saved steps in a row (one alone is usual with
    float16); a weight's norm is 100 times its first one; or for 3 saved steps in a row the
    loss is over 10 times its first one."""

    name = "exploding_tensor"
    ADVICE = "lower learning_rate, or set clip_grad_norm=1"

    def __init__(self) -> None:
        self.first: HealthRecord | None = None
        self.times, self.high = 0, 0

    def record(self, r: HealthRecord) -> str | None:
        self.first = self.first or r
        self.times = 0 if all(map(math.isfinite, r.gradients.values())) else self.times + 1
        broken = next((name for name, norm in r.weights.items() if not math.isfinite(norm)), None)
        if not math.isfinite(r.loss) or broken or self.times >= 3:
            return (
                f"{'the loss' if not math.isfinite(r.loss) else broken or 'the gradient'} is not finite; {self.ADVICE}"
            )
        for name, norm in r.weights.items():
            if norm > 100 * max(self.first.weights.get(name, norm), 0.01):
                return f"{name} grew from {self.first.weights[name]:.3g} to {norm:.3g} (norm); {self.ADVICE}"
        self.high = self.high + 1 if r.loss > 10 * max(self.first.loss, 0.1) else 0
        if self.high >= 3:
            return f"the loss grew from {self.first.loss:.3g} to {r.loss:.3g}; {self.ADVICE}"
        return None

    def epoch(self, row: Mapping[str, float]) -> str | None:
        return (
            None
            if math.isfinite(row.get("validation_loss", 0.0))
            else f"the validation loss is not finite; {self.ADVICE}"
        )


class Overfit:
    """For 3 epochs the validation loss was over 1.1 times its best, while the training loss went on below what it was
    then.
    """

    name = "overfit"
    RATIO, PATIENCE = 1.1, 3

    def __init__(self) -> None:
        self.best, self.train, self.times = math.inf, math.inf, 0

    def record(self, r: HealthRecord) -> str | None:
        return None

    def epoch(self, row: Mapping[str, float]) -> str | None:
        validation, train = row.get("validation_loss", math.nan), row.get("train_loss", math.nan)
        if validation < self.best:
            self.best, self.train, self.times = validation, train, 0
            return None
        self.times = self.times + 1 if validation > self.RATIO * self.best and train < self.train else 0
        if self.times < self.PATIENCE:
            return None
        return (
            f"for {self.PATIENCE} epochs the validation loss ({validation:.4f}, best {self.best:.4f}) has grown while"
            " the training loss fell; more augmentation_strength, weight_decay or dropout, or early_stopping=true"
        )


class PoorInitialisation:
    """At the run's first step: the loss is over 3 times that of a constant answer of one half, a weight is all zeros,
    or
    the root mean squares of two weights' gradients are 100,000 times apart."""

    name = "poor_initialisation"
    LOSS, SPREAD = 3.0, 1e5

    def __init__(self, shapes: Shapes, chance: float | None) -> None:
        self.sizes = {name: math.prod(shape) for name, shape in shapes.items() if len(shape) > 1}
        self.chance = chance

    def record(self, r: HealthRecord) -> str | None:
        if r.step != 1:
            return None
        if self.chance and r.loss > self.LOSS * self.chance:
            return (
                f"the first loss is {r.loss:.3f}, {r.loss / self.chance:.1f} times that of answering one half"
                " everywhere; check weights and preprocessing"
            )
        if zero := [name for name in self.sizes if r.weights.get(name) == 0.0]:
            return f"{zero[0]} is all zeros at the start; its parts cannot learn different things"
        rms = {
            name: r.gradients[name] / math.sqrt(size)
            for name, size in self.sizes.items()
            if r.gradients.get(name, 0.0) > 0
        }
        if rms and max(rms.values()) > self.SPREAD * min(rms.values()):
            most, least = max(rms, key=rms.__getitem__), min(rms, key=rms.__getitem__)
            return (
                f"the first gradients are {max(rms.values()) / min(rms.values()):.0f} times larger in {most} than in"
                f" {least}; start from other weights"
            )
        return None

    def epoch(self, row: Mapping[str, float]) -> str | None:
        return None


class Rules:
    """All rules on one run.

    Args:
        shapes: parameter -> shape.
        chance: training loss of a constant answer of one half; None: unknown.
        tell: takes each finding as it is made.
    """

    def __init__(
        self, shapes: Shapes, chance: float | None = None, tell: Callable[[Finding], None] = lambda finding: None
    ) -> None:
        self.rules: list[Any] = [
            PoorInitialisation(shapes, chance),
            ExplodingTensor(),
            VanishingGradient(shapes),
            LossNotDecreasing(),
            Overfit(),
        ]
        self.findings: list[Finding] = []
        self.tell = tell

    def record(self, record: HealthRecord) -> None:
        self._ask(record.step, lambda rule: rule.record(record))

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        self._ask(step, lambda rule: rule.epoch(row))

    def _ask(self, step: int, question: Callable[[Any], str | None]) -> None:
        for rule in list(self.rules):
            if message := question(rule):
                self.rules.remove(rule)
                self.add(rule.name, step, message)

    def add(self, rule: str, step: int, message: str) -> None:
        self.findings.append({"rule": rule, "step": step, "message": message})
        self.tell(self.findings[-1])


def class_imbalance(counts: Mapping[str, tuple[int, int]], ratio: float = 10.0) -> str | None:
    """A message where a class has over `ratio` images without it for each image with it, or the other way round.

    Args:
        counts: class -> (images that have it, images known not to).
    """
    rare = {name: (yes, no) for name, (yes, no) in counts.items() if max(yes, no) > ratio * min(yes, no)}
    if not rare:
        return None
    name = max(rare, key=lambda one: max(rare[one]) / max(min(rare[one]), 1))
    yes, no = rare[name]
    more = f" ({len(rare)} of {len(counts)} labels are over {ratio:.0f} to 1)" if len(counts) > 1 else ""
    return (
        f"{name} is on {yes} training images and not on {no}{more}; use_weighted_loss=true or balanced_sampler=true"
        " weighs it up"
    )


def judge(
    shapes: Shapes, records: Sequence[HealthRecord], history: Sequence[Mapping[str, float]], chance: float | None = None
) -> list[Finding]:
    """The findings on a finished run: its records by step, then its epochs (none are known.

    No rule that needs them speaks).
    """
    rules = Rules(shapes, chance)
    for record in records:
        rules.record(record)
    last = records[-1].step if records else 0
    for row in history or [{}]:
        rules.epoch(row, last)
    return rules.findings
