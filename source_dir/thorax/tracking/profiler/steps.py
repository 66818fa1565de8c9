"""Times the stages of some steps, traces some with torch.profiler, and writes a page that names the bottleneck."""

from __future__ import annotations

import gzip
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from thorax.config import TrainingConfig
from thorax.files import write_whole
from thorax.job import set_if_missing
from thorax.tracking.observers import Observer
from thorax.tracking.profiler.page import profile_page
from thorax.tracking.profiler.summary import Timing, summary_page

#: Steps that are timed stage by stage, at the end of the wait.
TIMED = 10


class Profiler(Observer):
    """Observes the first steps after a start. In steps that are neither timed nor traced it costs a comparison a stage.

    Args:
        folder: steps.pt.trace.json.gz (Perfetto, TensorBoard's profiler plugin), profile.html and summary.md go here.
        config: profiler_schedule is steps to wait, to warm up, to trace; the wait is shortened in a shorter run.
        device: of the network.
        workers: processes that read images.
        say: takes log lines.
    """

    name = "profiler"

    def __init__(
        self, folder: Path, config: TrainingConfig, device: torch.device, workers: int, say: Callable[[str], None]
    ) -> None:
        self.folder, self.config, self.device, self.workers, self.say = folder, config, device, workers, say
        self.seconds: dict[str, float] = {}
        self.timing, self.tracing = False, False
        self.done, self.wait, self.trace_at, self.trace_end = 0, -1, 0, 0
        self.timed = range(0)
        self.total, self.began = 0.0, 0.0
        self.profile: Any = None
        self.operators = ""
        self.waits: list[float] = []

    def stage(self, name: str) -> AbstractContextManager[Any]:
        """Marks the stage in traced steps, and adds its time up in timed ones."""
        if self.tracing:
            return torch.profiler.record_function(f"stage: {name}")
        return self._timed_stage(name) if self.timing else nullcontext()

    @contextmanager
    def _timed_stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        if name == "data":
            self.began = start
        yield
        self._synchronize()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def start(self, step: int, steps: int) -> None:
        wait, warmup, active = self.config.profiler_schedule
        self.wait = min(wait, steps - step - warmup - active)
        self.trace_at, self.trace_end = self.wait + warmup, self.wait + warmup + active
        # The last step of the wait is not timed: the tracer starts in it.
        self.timed = range(max(0, self.wait - 1 - TIMED), self.wait - 1)
        if self.wait >= 0:
            self._prepare_step()

    def step(self, step: int, loss: float | None, learning_rate: float) -> None:
        if self.wait < 0 or self.done >= self.trace_end:
            return
        if self.timing:
            self.total += time.perf_counter() - self.began
        self.done += 1
        self._prepare_step()

    def _prepare_step(self) -> None:
        """Decides whether the next step is waited through, timed, warmed up or traced."""
        self._synchronize()
        self.timing = self.done in self.timed
        if self.profile is not None:
            self.profile.step()
        elif self.done == self.wait:
            self._start_trace()
        if self.done == self.trace_end:
            self._stop_trace()
            self._write()
        self.tracing = self.profile is not None and self.done >= self.trace_at

    def _start_trace(self) -> None:
        set_if_missing("KINETO_LOG_LEVEL", "99")  # without a GPU its tracer says so as an error
        profiler = torch.profiler
        activities = [profiler.ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(profiler.ProfilerActivity.CUDA)
        _, warmup, active = self.config.profiler_schedule
        self.profile = profiler.profile(
            activities=activities,
            schedule=profiler.schedule(wait=0, warmup=warmup, active=active, repeat=1),
            on_trace_ready=self._save_trace,
            acc_events=True,
        )
        self.profile.start()

    def _stop_trace(self) -> None:
        if self.profile is not None:
            self.profile.stop()
            self.profile = None

    def _save_trace(self, profile: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = self.folder / "steps.pt.trace.json"
        profile.export_chrome_trace(str(plain))
        with plain.open("rb") as source, gzip.open(f"{plain}.gz", "wb") as target:
            shutil.copyfileobj(source, target)
        plain.unlink()
        by = "self_device_time_total" if self.device.type == "cuda" else "self_cpu_time_total"
        self.operators = profile.key_averages().table(sort_by=by, row_limit=10, max_name_column_width=40)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        self.waits.append(row["data_wait"])

    def close(self, outcome: str) -> None:
        self._stop_trace()
        self._write()
        text = self.facts().get("profiler", "warning: too few steps were made to time them; lower profiler_schedule")
        self.say(f"profiler: {text}; more in {self.folder / 'profile.html'}")

    def facts(self) -> dict[str, str]:
        timing = self._measured()
        return {"profiler": f"{timing.sentence}; {timing.advice(self.config)}"} if timing else {}

    def _measured(self) -> Timing | None:
        if not self.seconds or self.timing:
            return None
        return Timing(len(self.timed), self.total, dict(self.seconds), self.workers, self.device.type)

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, page in (("summary.md", summary_page), ("profile.html", profile_page)):
            text = page(self._measured(), self.config, self.operators, self.waits)
            write_whole(text.encode(), self.folder / name, "profiler's page")
