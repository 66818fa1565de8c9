"""torch.compile: the same training, but for rounding."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import pytest

from conftest import command, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler (g++) on a CPU"),
]


def losses(images: Path, out: Path, **settings: str) -> list[float]:
    done = run([sys.executable, *command(images, out, **settings)[1:]])  # inductor has processes of its own
    assert done.returncode == 0, done.stderr
    assert ("compile=true compiles the network in it" in done.stdout) == ("compile" in settings)
    with (Path(f"{out}-job") / "output" / "data" / "history.csv").open() as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file)]


def test_a_compiled_network_has_the_same_losses(images: Path, tmp_path: Path) -> None:
    plain = losses(images, tmp_path / "plain")
    assert losses(images, tmp_path / "compiled", compile="true") == pytest.approx(plain, rel=1e-3)
