"""The profiler names the stage that is slow, traces what it should, and samples the machine."""

from __future__ import annotations

import csv
import gzip
import json
import time
from types import SimpleNamespace

import pytest
import torch

from thorax.config import TrainingConfig
from thorax.tracking.profiling import system
from thorax.tracking.profiling.page import MEANING, Timing, page
from thorax.tracking.profiling.profiler import Profiler

CONFIGURATION = TrainingConfig().to_dict()
STAGES = ("data", "copy", "augmentation", "forward", "backward", "optimizer", "logging")


class Machine:
    """Has the trainer's stages; one of them takes 20 ms."""

    device, workers = torch.device("cpu"), 2

    def __init__(self, slow: str, profiler: Profiler) -> None:
        self.profiler, self.slow, self.count = profiler, slow, 0

    def work(self, stage: str) -> None:
        time.sleep(0.02 if stage == self.slow else 0.0002)
        if stage == "logging":
            self.count += 1
            self.profiler.step(self.count, 0.5, 0.1)

    def train(self, steps: int, start: int = 0) -> None:
        self.profiler.attach(self)
        self.profiler.start(start, start + steps)
        for _ in range(steps):
            for stage in STAGES:
                with self.profiler.stage(stage):
                    self.work(stage)
            if self.slow == "other":
                time.sleep(0.02)
        self.profiler.epoch({"data_wait": 0.25}, steps)
        self.profiler.close("finished")


def profiled(folder, slow, steps=16, schedule=(10, 1, 2)):
    lines = []
    profiler = Profiler(folder, schedule, CONFIGURATION, lines.append)
    Machine(slow, profiler).train(steps)
    return profiler, lines, (folder / "summary.md").read_text()


@pytest.mark.parametrize("slow", STAGES)
def test_the_slow_stage_is_the_bottleneck(tmp_path, slow):
    profiler, lines, text = profiled(tmp_path, slow)
    assert text.startswith(f"# Profile\n\n**Bottleneck: {slow}.**")
    assert f"most of it {slow}" in lines[0] and profiler.facts()["profiler"] in lines[0]
    assert "Whole epochs waited for images 25.0%" in text
    assert set(STAGES) <= set(MEANING)
    trace = json.loads(gzip.decompress((tmp_path / "steps.pt.trace.json.gz").read_bytes()))
    marks = [
        event
        for event in trace["traceEvents"]
        if event.get("name") == f"stage: {slow}" and event.get("cat") == "user_annotation"
    ]
    assert len(marks) == 2  # the active steps, no more


@pytest.mark.parametrize(
    ("steps", "timed", "traced"), [(100, 9, True), (8, 4, True), (3, 0, True), (2, 0, False), (0, 0, False)]
)
def test_a_short_run_is_profiled_as_far_as_it_goes(tmp_path, steps, timed, traced):
    profiler, lines, text = profiled(tmp_path, "data", steps)
    assert len(profiler.timed) * (profiler.wait >= 0) == timed
    assert (f"Means of {timed} steps" in text) == bool(timed)
    assert (tmp_path / "steps.pt.trace.json.gz").exists() == traced
    assert ("too few steps" in lines[0]) == (not timed)


@pytest.mark.parametrize(
    ("seconds", "changed", "advice"),
    [
        ({"data": 5, "forward": 2, "backward": 3}, {}, "data takes 50%: raise num_workers (now 4)"),
        ({"data": 2, "forward": 3, "backward": 5}, {}, "data takes 20%: raise num_workers (now 4)"),
        ({"data": 1, "forward": 3, "backward": 6}, {"precision_dtype": "float32"}, "try precision_dtype=auto"),
        ({"data": 1, "forward": 3, "backward": 6}, {"activation_checkpointing": True}, "activation_checkpointing=true"),
        ({"data": 1, "forward": 3, "backward": 6}, {}, "as it should be"),
        ({"optimizer": 6, "forward": 2, "backward": 2}, {}, "larger batch_size"),
    ],
)
def test_there_is_one_piece_of_advice_and_it_fits(seconds, changed, advice):
    timing = Timing(10, 10.0, seconds, 4, "cpu")
    assert advice in timing.advice(CONFIGURATION | changed)
    assert sum(timing.shares.values()) == pytest.approx(1)
    assert page(timing, CONFIGURATION | changed, "", []).count("**Advice:**") == 1
    assert "compile=true" not in timing.advice(CONFIGURATION) and "compile=true" in Timing(
        1, 1, {"forward": 1}, 4, "cuda"
    ).advice(CONFIGURATION)


def test_the_machine_is_sampled_until_the_run_ends(tmp_path, monkeypatch):
    gpu = SimpleNamespace(
        nvmlDeviceGetUtilizationRates=lambda h: SimpleNamespace(gpu=h),
        nvmlDeviceGetMemoryInfo=lambda h: SimpleNamespace(used=h * 2**30),
    )
    for handles, shown in (([], {""}), ([10, 70], {"70.0"})):
        monkeypatch.setattr(system, "_gpus", lambda handles=handles: (handles, gpu))
        samples = system.SystemSamples(tmp_path, "algo-1", print, seconds=0.05)
        samples.start(0, 10)
        time.sleep(0.4)
        samples.close("finished")
        with (tmp_path / "system-algo-1.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) > 1 and {row["gpu_percent"] for row in rows} == shown
        assert all(0 <= float(row["cpu_percent"]) <= 100 and float(row["process_memory_gib"]) > 0.05 for row in rows)
        assert (tmp_path / "system-algo-1.png").read_bytes().startswith(b"\x89PNG")
        samples.thread.join(1)
        assert not samples.thread.is_alive()
