"""What an engine is, and the table of all engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from thorax.errors import ThoraxError
from thorax.registry import Registry

if TYPE_CHECKING:
    from thorax.serving.bundle import Bundle

AUTO = "auto"
PRECISIONS = (AUTO, "float32", "bfloat16", "int8")


class Engine(Protocol):
    """A network that is ready; any number of threads may use it at once.

    Attributes:
        name: as in ENGINES.
        precision: float32, bfloat16 or int8.
        device: cpu or cuda.
        batch: images of one pass beyond which an image costs no less.
        waits: whether an image in a larger batch costs so much less that it is worth waiting for others.
    """

    name: str
    precision: str
    device: str
    batch: int
    waits: bool

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(N, L) float32 of prepared images: (N, height, width[, 3]) uint8, or normalised already (N, channels, height,
        width) float32."""


@dataclass(frozen=True)
class EngineRequest:
    """Which engine is wanted, and how it is used.

    Attributes:
        engine: a name of ENGINES, or auto.
        precision: one of PRECISIONS.
        device: a torch.device; None: a GPU if there is one.
        threads: of one pass on a CPU, 1 or more.
        passes: that run at once, 1 or more.
        batch: images of one pass, at most.

    Raises:
        ThoraxError: another name, or a number below 1.
    """

    engine: str = AUTO
    precision: str = AUTO
    device: Any = None
    threads: int = 1
    passes: int = 1
    batch: int = 16

    def __post_init__(self) -> None:
        if self.engine != AUTO and self.engine not in ENGINES:
            raise ThoraxError(f"engine={self.engine} is not one of {', '.join((AUTO, *ENGINES))}")
        if self.precision not in PRECISIONS:
            raise ThoraxError(f"precision={self.precision} is not one of {', '.join(PRECISIONS)}")
        if self.batch < 1 or self.threads < 1:
            raise ThoraxError(f"batch={self.batch} and threads={self.threads} must be 1 or more")

    def takes(self, precision: str) -> bool:
        """Whether that precision is asked for."""
        return self.precision in (AUTO, precision)


#: A precision -> a function that makes the engine; the fastest first, as far as that is known before it is measured.
Candidates = dict[str, Callable[[], Engine]]


@dataclass(frozen=True)
class EngineSpec:
    """One engine.

    Attributes:
        prepared: whether a bundle holds files for it that this machine can use, so that nothing has to be converted.
        candidates: (bundle, request) -> what this machine can run of what is asked for.
        help: what it is, in a few words.
    """

    prepared: Callable[[Bundle], bool]
    candidates: Callable[[Bundle, EngineRequest], Candidates]
    help: str


ENGINES: Registry[EngineSpec] = Registry("engine")
