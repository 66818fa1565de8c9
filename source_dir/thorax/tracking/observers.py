"""Observers of a training run: trackers, the health monitor and the profiler, as the trainer sees them.

The trainer calls them at fixed points. A run without observers has None in their place and makes no call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

#: The stages of a training step, in their order; `Observer.stage` gets one of these names.
STAGES = ("data", "copy", "augmentation", "forward", "backward", "optimizer", "logging")
#: {"rule": its name, "step": the optimizer step at which it was found, "message": one line}.
Finding = dict[str, Any]


class TrainerView(Protocol):
    """What observers read of a trainer that is built and has trained nothing.

    Attributes:
        net: the network.
        device: the torch.device that it is on.
        train_images: the training set (data.samples.SampleSet).
        loss: the training loss (training.losses.Loss).
        state: where the run is (training.state.State); as in its checkpoint only when `start` is called.
    """

    net: Any
    device: Any
    train_images: Any
    loss: Any
    state: Any


class Observer:
    """Called by the trainer; each method does nothing here. Steps are optimizer steps, counted from 1 over the run."""

    #: Its name in a warning.
    name = "observer"

    def attach(self, trainer: TrainerView) -> None:
        """The trainer is built; it has its data, network and loss, and has trained nothing."""

    def start(self, step: int, steps: int) -> None:
        """Training begins after `step` steps (more than 0: a resumed run) of at most `steps`."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """The context in which a stage of a step runs; `name` is one of STAGES."""
        return nullcontext()

    def gradients(self, step: int, loss: Any, net: Any) -> None:
        """Between backward pass and update.

        Args:
            step: the step being made.
            loss: 0-d tensor on the device, the mean loss of this process's images.
            net: its `.grad` are unscaled and not yet clipped; its weights are those before the update.
        """

    def step(self, step: int, loss: float | None, learning_rate: float) -> None:
        """A step is done; `loss` is the latest known (on a GPU up to 20 steps old) and may be NaN or infinite."""

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        """An epoch is validated; `row` is its line of the history."""

    def close(self, outcome: str) -> None:
        """The run is over: finished, stopped (it can be resumed) or failed."""

    def findings(self) -> list[Finding]:
        """The problems that it found."""
        return []

    def facts(self) -> dict[str, str]:
        """Its measurements for the report: name -> text."""
        return {}


class Observers(Observer):
    """Several observers as one. An observer that raises is removed with one warning line; the run goes on.

    Args:
        members: called in this order.
        say: takes a log line.
    """

    def __init__(self, members: Sequence[Observer], say: Callable[[str], None]) -> None:
        self.members, self.say = list(members), say

    def attach(self, trainer: TrainerView) -> None:
        self._call_all("attach", trainer)

    def start(self, step: int, steps: int) -> None:
        self._call_all("start", step, steps)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        entered = []
        for member in list(self.members):
            for context in self._call(member, member.stage, name):
                if self._call(member, context.__enter__):
                    entered.append((member, context))
        try:
            yield
        finally:
            for member, context in reversed(entered):
                self._call(member, context.__exit__, None, None, None)

    def gradients(self, step: int, loss: Any, net: Any) -> None:
        self._call_all("gradients", step, loss, net)

    def step(self, step: int, loss: float | None, learning_rate: float) -> None:
        self._call_all("step", step, loss, learning_rate)

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        self._call_all("epoch", row, step)

    def close(self, outcome: str) -> None:
        self._call_all("close", outcome)

    def findings(self) -> list[Finding]:
        return [finding for findings in self._call_all("findings") for finding in findings]

    def facts(self) -> dict[str, str]:
        return {name: text for facts in self._call_all("facts") for name, text in facts.items()}

    def _call_all(self, method: str, *arguments: Any) -> list[Any]:
        """What the method of each working member returns."""
        results = [self._call(member, getattr(member, method), *arguments) for member in list(self.members)]
        return [result for returned in results for result in returned]

    def _call(self, member: Observer, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """[what the function returns]; [] where it raises, and the member is removed."""
        try:
            return [function(*arguments)]
        except Exception as error:
            if member in self.members:
                self.members.remove(member)
                self.say(f"warning: {member.name} failed ({one_line(error)}); the run goes on without it")
            return []


def one_line(error: BaseException) -> str:
    """An exception in at most 200 characters of one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
