"""Those who watch a run: the trainer tells them what happens.

Where nobody watches there is no observer, and no call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any


class Observer:
    """Told what happens; each method does nothing here.

    Steps are optimiser steps, counted from 1 over the whole run.
    """

    #: What it is called in a warning.
    name = "observer"

    def attach(self, trainer: Any) -> None:
        """The trainer is built; it has its data, network and loss, and has trained nothing."""

    def start(self, step: int, steps: int) -> None:
        """Training begins after `step` steps (more than 0: a resumed run) of at most `steps`."""

    def gradients(self, step: int, loss: Any, net: Any) -> None:
        """Between backward pass and update.

        Args:
            step: the step being made.
            loss: 0-d tensor on the device, the mean loss of this process's images.
            net: its `.grad` are unscaled and not yet clipped; its weights are those that the gradients belong to.
        """

    def step(self, step: int, loss: float | None, learning_rate: float) -> None:
        """A step is done; `loss` is the latest that is known (on a GPU some steps old), maybe not finite."""

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        """An epoch is scored; `row` is its line of the history."""

    def stage(self, name: str) -> AbstractContextManager[Any]:
        """A context around one stage of a step: data, copy, augmentation, forward, backward, optimizer or logging."""
        return nullcontext()

    def close(self, outcome: str) -> None:
        """The run is over: finished, stopped (it can be resumed) or failed."""

    def findings(self) -> list[dict[str, Any]]:
        """What it found wrong: {"rule", "step", "message"} each."""
        return []

    def facts(self) -> dict[str, str]:
        """What it measured, for the report: name -> text."""
        return {}


class Observers(Observer):
    """Several of them. One that fails is dropped with a warning; the run goes on.

    Args:
        members: told in this order.
        say: takes a line.
    """

    def __init__(self, members: Sequence[Observer], say: Callable[[str], None]) -> None:
        self.members, self.say = list(members), say

    def attach(self, trainer: Any) -> None:
        self._tell("attach", trainer)

    def start(self, step: int, steps: int) -> None:
        self._tell("start", step, steps)

    def gradients(self, step: int, loss: Any, net: Any) -> None:
        self._tell("gradients", step, loss, net)

    def step(self, step: int, loss: float | None, learning_rate: float) -> None:
        self._tell("step", step, loss, learning_rate)

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        self._tell("epoch", row, step)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        with ExitStack() as stack:
            for context in self._tell("stage", name):
                stack.enter_context(context)
            yield

    def close(self, outcome: str) -> None:
        self._tell("close", outcome)

    def findings(self) -> list[dict[str, Any]]:
        return [finding for told in self._tell("findings") for finding in told]

    def facts(self) -> dict[str, str]:
        return {name: text for told in self._tell("facts") for name, text in told.items()}

    def _tell(self, event: str, *what: Any) -> list[Any]:
        answers = []
        for member in list(self.members):
            try:
                answers.append(getattr(member, event)(*what))
            except Exception as error:
                self.members.remove(member)
                self.say(f"warning: {member.name} failed ({one_line(error)}); the run goes on without it")
        return answers


def one_line(error: BaseException) -> str:
    """An exception in at most 200 characters of one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
