"""Progress of an epoch: a bar on a terminal, a whole line every few seconds otherwise; only from the main process."""

from __future__ import annotations

import sys
import time
from typing import Any


def say(text: str) -> None:
    """One whole line on standard output, at once."""
    print(text, flush=True)


class Progress:
    """Counts steps of an epoch, or images of any other work.

    Args:
        title: such as "epoch 3/16".
        steps: how many there are.
        start: how many are done (after a resume).
        shown: whether this process shows it.
        every: seconds between lines where there is no terminal.
        unit: what is counted.
    """

    def __init__(self, title: str, steps: int, start: int, shown: bool, every: float, unit: str = "step") -> None:
        self.title, self.steps, self.done, self.every, self.unit = title, steps, start, every, unit
        self.shown, self.last = shown, time.monotonic()
        self.bar: Any = None
        if shown and sys.stdout.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=steps, initial=start, desc=title, leave=False, unit=unit, dynamic_ncols=True)

    def step(self, loss: float | None = None) -> None:
        self.done += 1
        if self.bar is not None:
            self.bar.update()
            if loss is not None:
                self.bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        elif self.shown and time.monotonic() - self.last > self.every and self.done < self.steps:
            self.last = time.monotonic()
            say(
                f"{self.title}: {self.unit} {self.done}/{self.steps}"
                + (f", loss {loss:.4f}" if loss is not None else "")
            )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
