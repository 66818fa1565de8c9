"""Which engine serves a bundle on this machine: measured on its network, at its size, and only what gives its answers.

With one candidate nothing is measured. A bundle that holds files for an engine is served by it, without torch; a GPU is
always torch's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from thorax.errors import ThoraxError
from thorax.serving.engines import table  # noqa: F401  registers the engines
from thorax.serving.engines.devices import gpu_name, has_gpu
from thorax.serving.engines.engine import AUTO, ENGINES, Engine, EngineRequest
from thorax.serving.engines.remembered import Remembered

if TYPE_CHECKING:
    from thorax.serving.bundle import Bundle

#: No probability of a lower precision may differ from float32's by more than this on the reference images.
TOLERANCE = 0.01
#: As much for a quantised network against its own answers where it was made: the same arithmetic on another CPU.
TOLERANCE_INT8 = 0.02
#: Seconds of the probe, warming up not included; and rounds, at most.
SECONDS, ROUNDS = 0.5, 5

#: (N, L) logits -> (N, L) probabilities.
Probabilities = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Choice:
    """The engine that serves.

    Attributes:
        rates: images per second of each candidate that was measured, by "engine precision"; empty for a single one.
        notes: why a candidate was left out, a line each.
    """

    engine: Engine
    rates: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = f"engine: {self.engine.name} {self.engine.precision} on {self.engine.device}"
        if self.rates:
            told += f" ({', '.join(f'{name} {rate:.1f}' for name, rate in self.rates.items())} images/s)"
        return "; ".join([told, *self.notes])


def choose(bundle: Bundle, request: EngineRequest, references: np.ndarray, probabilities: Probabilities) -> Choice:
    """The fastest engine that gives the bundle's answers.

    Args:
        bundle: what is served.
        request: which engines and precisions may be chosen; one that is named is not measured.
        references: (N, height, width) uint8, images to compare the answers and the times on.
        probabilities: of logits.

    Raises:
        ThoraxError: what is asked for is not installed, not in the bundle, or gives other answers.
    """
    gpu = has_gpu() if request.device is None else request.device.type == "cuda"
    ready = [name for name in ENGINES if not gpu and ENGINES[name].prepared(bundle)]
    names = [request.engine] if request.engine != AUTO else ready or ["torch"]
    probe = _Probe(bundle, request, references, probabilities, gpu)
    try:
        return probe.fastest(names)
    except ThoraxError as error:  # files that are damaged or stale, or that this CPU computes otherwise
        if request.engine != AUTO or names == ["torch"]:
            raise
        found = probe.fastest(["torch"])
        return Choice(found.engine, found.rates, (*found.notes, f"not {names[0]}: {error}"))


@dataclass
class _Probe:
    bundle: Bundle
    request: EngineRequest
    references: np.ndarray
    probabilities: Probabilities

    gpu: bool

    def fastest(self, names: list[str]) -> Choice:
        makers = {
            (name, precision): make
            for name in names
            for precision, make in ENGINES[name].candidates(self.bundle, self.request).items()
        }
        if not makers:
            raise ThoraxError(f"engine={'|'.join(names)} has no precision={self.request.precision}")
        if len(makers) == 1:
            engine = next(iter(makers.values()))()
            self._check_files(engine)
            return Choice(engine)
        told = {f"{name} {precision}": make for (name, precision), make in makers.items()}
        remembered = Remembered(
            (
                self.bundle.version,
                self.bundle.preprocessing.fingerprint(),
                gpu_name(),
                *astuple(self.request),
                *sorted(told),
            )
        )
        if (rates := remembered.get()) and (best := max(rates, key=lambda name: rates[name])) in told:
            return Choice(told[best](), rates)
        engines = {name: make() for name, make in told.items()}
        safe, notes = self._safe(engines)
        rates = images_per_second(safe, self._timed_on())
        remembered.keep(rates)
        return Choice(safe[max(rates, key=lambda name: rates[name])], rates, notes)

    def _timed_on(self) -> np.ndarray:
        """A whole batch on a GPU, which a few images would not fill; on a CPU an image costs the same in any batch."""
        count = self.request.batch if self.gpu else min(self.request.batch, len(self.references))
        return np.resize(self.references, (count, *self.references.shape[1:]))

    def _check_files(self, engine: Engine) -> None:
        """Raises ThoraxError where an engine of the bundle's files computes something else here."""
        stored = self.bundle.engine
        if stored is None or (stored.name, stored.precision) != (engine.name, engine.precision):
            return
        limit = TOLERANCE_INT8 if engine.precision == "int8" else TOLERANCE
        difference = stored.differs(self.probabilities(engine.logits(self.references)))
        if not difference <= limit:
            raise ThoraxError(f"its answers here differ by {difference:.4f} from those where it was made")

    def _safe(self, engines: dict[str, Engine]) -> tuple[dict[str, Engine], tuple[str, ...]]:
        """Those whose probabilities are float32's, and why others are not among them."""
        answers = {name: self.probabilities(engine.logits(self.references)) for name, engine in engines.items()}
        exact = {name: p for name, p in answers.items() if engines[name].precision == "float32"}
        if not exact:
            return engines, ()
        wanted = next(iter(exact.values()))
        notes = []
        safe = {}
        for name, engine in engines.items():
            if (difference := float(np.abs(answers[name] - wanted).max())) <= TOLERANCE:  # also not where it is NaN
                safe[name] = engine
            elif name not in exact:
                notes.append(f"not {name}: a probability moves by {difference:.4f}")
        return safe or {name: engines[name] for name in exact}, tuple(notes)


def images_per_second(engines: dict[str, Engine], images: np.ndarray) -> dict[str, float]:
    """Of each engine, in turn, by its best round; each makes a first pass at this size, which does not count."""
    best = dict.fromkeys(engines, float("inf"))
    for engine in engines.values():
        engine.logits(images)
    end = time.perf_counter() + SECONDS
    for k in range(ROUNDS):
        for name, engine in engines.items():
            began = time.perf_counter()
            engine.logits(images)
            best[name] = min(best[name], time.perf_counter() - began)
        if k and time.perf_counter() > end:
            break
    return {name: len(images) / seconds for name, seconds in best.items()}
