"""Times the stages of some steps, then traces some with torch.profiler, and writes one page that names the bottleneck."""

from __future__ import annotations

import gzip
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thorax.files import write_whole
from thorax.tracking.observers import Observer
from thorax.tracking.profiling.page import Timing, page

#: Steps that are timed stage by stage, at the end of the wait.
TIMED = 10


class Profiler(Observer):
    """Watches the first steps after a start. In steps that are neither timed nor traced it costs a comparison a stage.

    Args:
        folder: trace-*.pt.trace.json.gz (Perfetto, TensorBoard's profiler plugin) and summary.md go here.
        schedule: steps to wait, to warm up, to trace. The wait is shortened where a run has fewer steps.
        configuration: the hyperparameters, for the advice.
        say: takes lines for the log.
    """

    name = "profiler"

    def __init__(
        self, folder: Path, schedule: tuple[int, ...], configuration: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        self.folder, self.schedule, self.configuration, self.say = folder, schedule, configuration, say
        self.seconds: dict[str, float] = {}
        self.timing, self.tracing = False, False
        self.done, self.wait = 0, -1
        self.whole, self.began = 0.0, 0.0
        self.profile: Any = None
        self.operators = ""
        self.waits: list[float] = []

    def attach(self, trainer: Any) -> None:
        import torch

        self.torch, self.device, self.workers = torch, trainer.device, trainer.workers

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """In timed steps the time of the stage is added up, in traced ones it is marked."""
        if self.tracing:
            with self.torch.profiler.record_function(f"stage: {name}"):
                yield
            return
        if not self.timing:
            yield
            return
        start = time.perf_counter()
        self.began = start if name == "data" else self.began
        yield
        self._wait_for_device()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def start(self, step: int, steps: int) -> None:
        wait, warmup, active = self.schedule
        self.wait = min(wait, steps - step - warmup - active)
        self.trace_at, self.trace_end = self.wait + warmup, self.wait + warmup + active
        self.timed = range(
            max(0, self.wait - 1 - TIMED), self.wait - 1
        )  # the last one waited for is not timed: the tracer starts in it
        if self.wait >= 0:
            self._turn()

    def step(self, step: int, loss: float | None, learning_rate: float) -> None:
        if self.wait < 0 or self.done >= self.trace_end:
            return
        if self.timing:
            self.whole += time.perf_counter() - self.began
        self.done += 1
        self._turn()

    def _turn(self) -> None:
        """What the next step is: waited through, timed, warmed up or traced."""
        self._wait_for_device()
        self.timing = self.done in self.timed
        if self.profile is not None:
            self.profile.step()
        elif self.done == self.wait:
            self._trace()
        if self.done == self.trace_end:
            self.profile.stop()
            self.profile = None
            self._write()
        self.tracing = self.profile is not None and self.done >= self.trace_at

    def _trace(self) -> None:
        profiler = self.torch.profiler
        activities = [
            profiler.ProfilerActivity.CPU,
            *([profiler.ProfilerActivity.CUDA] if self.device.type == "cuda" else []),
        ]
        _, warmup, active = self.schedule
        self.profile = profiler.profile(
            activities=activities,
            schedule=profiler.schedule(wait=0, warmup=warmup, active=active, repeat=1),
            on_trace_ready=self._keep,
            acc_events=True,
        )
        self.profile.start()

    def _keep(self, profile: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = self.folder / "steps.pt.trace.json"
        profile.export_chrome_trace(str(plain))
        with plain.open("rb") as source, gzip.open(f"{plain}.gz", "wb") as target:
            shutil.copyfileobj(source, target)
        plain.unlink()
        by = "self_device_time_total" if self.device.type == "cuda" else "self_cpu_time_total"
        self.operators = profile.key_averages().table(sort_by=by, row_limit=10, max_name_column_width=40)

    def _wait_for_device(self) -> None:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize(self.device)

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        self.waits.append(row["data_wait"])

    # -- What came out ---------------------------------------------------------------------------------------------

    def _measured(self) -> Timing | None:
        if not self.seconds or self.timing:
            return None
        return Timing(len(self.timed), self.whole, dict(self.seconds), self.workers, self.device.type)

    def _write(self) -> None:
        timing = self._measured()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(
            page(timing, self.configuration, self.operators, self.waits).encode(),
            self.folder / "summary.md",
            "profiler's summary",
        )

    def close(self, outcome: str) -> None:
        if self.profile is not None:
            self.profile.stop()
            self.profile = None
        self._write()
        told = self.facts().get("profiler", "warning: too few steps were made to time them; lower profiler_schedule")
        self.say(f"profiler: {told}; more in {self.folder / 'summary.md'}")

    def facts(self) -> dict[str, str]:
        timing = self._measured()
        return {"profiler": f"{timing.sentence}; {timing.advice(self.configuration)}"} if timing else {}
