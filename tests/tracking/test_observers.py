"""Several observers as one: their contexts of a stage, and an observer that fails."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from thorax.tracking.observers import Observer, Observers


class Recorded(Observer):
    """Writes down the stages that it enters and leaves; raises at the points in `fails`."""

    def __init__(self, name: str, events: list[str], fails: tuple[str, ...] = ()) -> None:
        self.name, self.events, self.fails = name, events, fails

    def _note(self, event: str) -> None:
        self.events.append(f"{self.name} {event}")
        if event in self.fails:
            raise ValueError("full disk")

    def stage(self, name):
        self._note(f"makes {name}")
        return self._context(name)

    @contextmanager
    def _context(self, name):
        self._note(f"enters {name}")
        yield
        self._note(f"leaves {name}")


def test_a_stage_runs_in_the_contexts_of_all_observers():
    events: list[str] = []
    observers = Observers([Recorded("a", events), Observer(), Recorded("b", events)], events.append)
    with observers.stage("forward"):
        events.append("forward")
    assert events == [
        *("a makes forward", "a enters forward", "b makes forward", "b enters forward"),
        "forward",
        *("b leaves forward", "a leaves forward"),
    ]


@pytest.mark.parametrize("point", ["makes", "enters", "leaves"])
def test_an_observer_whose_stage_fails_is_removed_and_the_stage_runs(point):
    events: list[str] = []
    lines: list[str] = []
    good, broken = Recorded("good", events), Recorded("broken", events, (f"{point} copy",))
    observers = Observers([broken, good], lines.append)
    for _ in range(2):
        with observers.stage("copy"):
            events.append("copy")
    assert lines == ["warning: broken failed (full disk); the run goes on without it"]
    assert observers.members == [good]
    assert events.count("copy") == events.count("good leaves copy") == 2
    assert events.count("broken makes copy") == 1


def test_an_error_of_the_stage_itself_ends_the_run():
    events: list[str] = []
    lines: list[str] = []
    observers = Observers([Recorded("a", events)], lines.append)
    with pytest.raises(ZeroDivisionError), observers.stage("backward"):
        _ = 1 / 0
    assert events[-1] == "a leaves backward" and lines == []
