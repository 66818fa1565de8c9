"""What is left of a run, and waiting for a running one; for tests that kill, resume and compare."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

#: Columns of a history that depend on the clock.
CLOCKED = ("images_per_second", "data_wait", "epoch_seconds")


def weights(bundle: Path) -> dict[str, torch.Tensor]:
    return load_file(bundle / "model.safetensors")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def history(bundle: Path) -> list[str]:
    """Losses and scores by epoch, without the columns of times."""
    lines = (bundle.with_name(bundle.name + "-job") / "output/data/history.csv").read_text().splitlines()
    kept = [k for k, name in enumerate(lines[0].split(",")) if name not in CLOCKED]
    return [",".join(line.split(",")[k] for k in kept) for line in lines]


def wait_for_checkpoints(process: subprocess.Popen[str], folder: Path, steps: int) -> None:
    """Until the newest checkpoint is at least `steps` global steps on, or the process ends."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if any(int(p.stem.split("-")[1]) >= steps for p in folder.glob("checkpoint-*.pt")):
            return
        time.sleep(0.01)
