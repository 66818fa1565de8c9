"""What every part of the GPU proof kit works with: sizes, figures, and a clock that waits for the GPU."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        networks: names that both we and torchvision know; the first is measured in full.
        side: pixels a side that the networks see.
        stored: pixels a side of the small JPEGs.
        native: height and width of the large JPEGs.
        different, links: images that are drawn, and how often each is linked: of the small and of the large ones.
        batch: images of a training step.
        large: pixels a side of the memory table, and its batches.
        warm, seconds: steps before the clock starts, and the least time on it.
        calls: single requests.
        workers: processes that read images, on every side.
    """

    networks: tuple[str, ...] = ("resnet50", "densenet121")
    side: int = 224
    stored: int = 256
    native: tuple[int, int] = (1100, 1300)
    different: tuple[int, int] = (4096, 512)
    links: tuple[int, int] = (6, 40)
    batch: int = 256
    large: tuple[int, tuple[int, ...]] = (896, (8, 32))
    warm: int = 12
    seconds: float = 4.0
    calls: int = 200
    workers: int = 15


SMALL = Sizes(
    networks=("resnet18",),
    side=32,
    stored=40,
    native=(64, 80),
    different=(16, 8),
    links=(1, 1),
    batch=4,
    large=(64, (2,)),
    warm=1,
    seconds=0.0,
    calls=3,
    workers=1,
)


@dataclass(frozen=True)
class Kit:
    """One run of the kit.

    Attributes:
        device: what is measured.
        sizes: how much.
        folder: for images and bundles; emptied at the end.
        ends: time.monotonic() at which the part has to be done.
        problems: what failed, a line each; see `measured`.
    """

    device: torch.device
    sizes: Sizes
    folder: Path
    ends: float = float("inf")
    problems: list[str] = field(default_factory=list)

    @property
    def precision(self) -> str:
        """Of our training: what a GPU's `auto` is; float32 in the rehearsal on a CPU."""
        return "bfloat16" if self.device.type == "cuda" else "float32"

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16

    def sync(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        table: the heading that it stands under.
        what: what was measured; figures of the same `what` are compared.
        side: ours, or a peer's name.
        value, unit: the number; None: it could not be had, see `note`.
        note: how it came about.
        target: what it should be.
    """

    table: str
    what: str
    side: str
    value: float | None
    unit: str = "images/s"
    note: str = ""
    target: str = ""


Figures = Iterator[Figure]


@dataclass(frozen=True)
class Row:
    """Figures that are measured together.

    Attributes:
        table, what: where they stand.
        seconds: about so long they take on a GPU.
        make: measures them.
        side: who is named where there is no figure.
    """

    table: str
    what: str
    seconds: float
    make: Callable[[], Figures]
    side: str = "ours"


def measured(kit: Kit, rows: Sequence[Row]) -> Figures:
    """The figures of each row in turn. One that fails, that needs a package, or for which no time is left has a figure
    without a value that says so, and takes no other along; kit.problems gets those that failed."""
    for row in rows:
        why = ""
        if time.monotonic() + row.seconds > kit.ends:
            why = f"left out: about {row.seconds:.0f} s, and {max(0.0, kit.ends - time.monotonic()):.0f} s are left"
        else:
            try:
                yield from row.make()
            except ModuleNotFoundError as error:
                why = f"left out: {error.name} is not installed"
            except (Exception, SystemExit) as error:
                traceback.print_exc()
                why = f"failed: {reason_of(error)}"
                kit.problems.append(f"{row.what}: {reason_of(error)}")
            free()
        if why:
            yield Figure(row.table, row.what, row.side, None, note=why)


def reason_of(error: BaseException) -> str:
    """An error with the place where it was raised, in one line."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text} ({Path(where.filename).name}:{where.lineno})"


class Window:
    """Counts steps on a clock that starts after `warm` of them and runs for `seconds`, the GPU's work included.

    Args:
        kit: whose device is waited for, and whose sizes count.
        most: steps there are; the clock stops at the last one.
        at_start, at_end: called as the clock starts and stops.
        ahead: batches that may lie ready before the first step, which are taken before the clock starts.
    """

    def __init__(
        self,
        kit: Kit,
        most: int = 10**9,
        at_start: Callable[[], None] = lambda: None,
        at_end: Callable[[], None] = lambda: None,
        ahead: int = 0,
    ) -> None:
        self.warm = max(1, min(kit.sizes.warm + ahead, most - 1))
        self.kit, self.most, self.at_start, self.at_end = kit, most, at_start, at_end
        self.steps, self.began, self.seconds, self.counted = 0, 0.0, 0.0, 0

    def step(self) -> bool:
        """After a step; True once the clock has stopped."""
        self.steps += 1
        warm = self.warm
        if self.steps == warm:
            self.kit.sync()
            self.at_start()
            self.began = time.perf_counter()
        elif self.steps > warm and (
            time.perf_counter() - self.began >= self.kit.sizes.seconds or self.steps >= self.most
        ):
            self.kit.sync()
            self.seconds, self.counted = time.perf_counter() - self.began, self.steps - warm
            self.at_end()
            return True
        return False

    def per_second(self, batch: int) -> float:
        return self.counted * batch / max(self.seconds, 1e-9)


def repeated(kit: Kit, work: Callable[[], object], seconds_share: float = 1.0, warm: int | None = None) -> Window:
    """Repeats `work` for a window, after kit.sizes.warm times (or `warm`, of work that is long)."""
    window = Window(kit)
    window.warm = min(window.warm, warm or window.warm)
    limit = kit.sizes.seconds * seconds_share
    while not window.step():
        work()
        if window.began and time.perf_counter() - window.began >= limit and window.steps > window.warm:
            window.most = window.steps + 1
    return window


def free() -> None:
    """Gives a GPU's memory back."""
    import gc

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
