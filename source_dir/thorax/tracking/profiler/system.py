"""Samples of the machine while a run trains: CPU, memory, GPU; a CSV and a plot."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thorax.tracking.observers import Observer

SECONDS = 2.0
COLUMNS = ("seconds", "cpu_percent", "memory_percent", "process_memory_gib", "gpu_percent", "gpu_memory_gib")


class SystemSamples(Observer):
    """A thread that samples every 2 seconds.

    It samples all CPUs together (0..100), the machine's memory, the memory of this process and its children, and of the
    busiest GPU utilisation (0..100) and memory in use; without a GPU these two columns are empty.

    Args:
        folder: system-<host>.csv and .png go here.
        host: this machine's name.
        say: takes lines for the log.
    """

    name = "system samples"

    def __init__(self, folder: Path, host: str, say: Callable[[str], None], seconds: float = SECONDS) -> None:
        self.folder, self.host, self.say, self.seconds = folder, host, say, seconds
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None

    def start(self, step: int, steps: int) -> None:
        import psutil

        self.psutil, self.process = psutil, psutil.Process()
        self.gpus, self.nvml = _gpus()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()

    def _sample(self) -> None:
        began = time.monotonic()
        self.psutil.cpu_percent()  # the first call of a thread only starts its clock
        try:
            with (self.folder / f"system-{self.host}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(COLUMNS)
                while not self.ended.wait(self.seconds):
                    writer.writerow([f"{time.monotonic() - began:.1f}", *self._values()])
                    file.flush()
        except Exception as error:  # a full disk, an ended process: the run goes on
            self.say(f"warning: system samples ended: {error}")

    def _values(self) -> list[str]:
        memory = 0
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                memory += process.memory_info().rss
            except self.psutil.Error:  # the process has just ended
                continue
        cpu, machine = self.psutil.cpu_percent(), self.psutil.virtual_memory().percent
        row = [f"{cpu:.1f}", f"{machine:.1f}", f"{memory / 2**30:.3f}"]
        if not self.gpus:
            return [*row, "", ""]
        used = max(self.nvml.nvmlDeviceGetUtilizationRates(gpu).gpu for gpu in self.gpus)
        gpu_memory = max(self.nvml.nvmlDeviceGetMemoryInfo(gpu).used for gpu in self.gpus)
        return [*row, f"{used:.1f}", f"{gpu_memory / 2**30:.3f}"]

    def close(self, outcome: str) -> None:
        if self.thread is None:
            return
        self.ended.set()
        self.thread.join(10)
        if outcome == "finished":
            plot(self.folder / f"system-{self.host}.csv")


def _gpus() -> tuple[list[Any], Any]:
    """Handles of the GPUs and NVIDIA's library; none where there is no GPU or no nvidia-ml-py."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(k) for k in range(pynvml.nvmlDeviceGetCount())], pynvml
    except Exception:  # its own error classes, where there is a module
        return [], None


def plot(file: Path) -> None:
    """Draws the samples of the CSV to a PNG beside it: shares above, memory below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows:
        return
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, names, label in (
        (above, {"cpu_percent": "CPU", "memory_percent": "memory", "gpu_percent": "GPU"}, "% in use"),
        (below, {"process_memory_gib": "this run", "gpu_memory_gib": "GPU"}, "GiB"),
    ):
        for name, title in names.items():
            points = [(float(row["seconds"]), float(row[name])) for row in rows if row[name]]
            if points:
                axes.plot(*zip(*points, strict=True), label=title, marker="." if len(points) < 30 else "")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    below.set_xlabel("seconds since the start")
    figure.savefig(file.with_suffix(".png"), dpi=110)
