"""The GPU proof kit: rehearsed on the CPU in small, so that it runs the day a GPU is there. Its figures are no test."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from conftest import run

ROOT = Path(__file__).resolve().parents[2]
KIT = [sys.executable, str(ROOT / "bench" / "gpu.py")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_in_one_line():
    done = run([*KIT, "--out", "/nowhere"])
    assert done.returncode == 2
    assert done.stderr == "no GPU that torch can use; for a rehearsal without one: --device cpu --small\n"


def test_all_parts_run_in_small_and_are_written_and_one_that_fails_takes_no_other_along(tmp_path):
    """With a part more, first, that has no function."""
    parts = "step,files,scoring,memory,jpeg,bare,tests"
    script = tmp_path / "more.py"
    words = ["--small", "--device", "cpu", "--out", str(tmp_path / "out"), "--parts", f"broken,{parts}"]
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'bench')!r})\n"
        "import gpu\n"
        "gpu.PARTS = (gpu.PARTS[0], gpu.Part('broken', 'images:nothing', 60), *gpu.PARTS[1:])\n"
        f"sys.exit(gpu.main({words}))\n"
    )
    done = run([sys.executable, str(script)])
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-2000:]
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert found["machine"]["torch"] == torch.__version__
    outcomes = {part["name"]: part for part in found["parts"]}
    assert "AttributeError" in outcomes["broken"]["reason"]
    assert {name: part["status"] for name, part in outcomes.items()} == {
        "images": "passed",
        "broken": "failed",
        **dict.fromkeys(parts.split(","), "passed"),
        "tests": "skipped",
    }
    figures = found["figures"]
    assert all(figure["value"] is None or figure["value"] > 0 for figure in figures if figure["unit"] != "%")
    sides = {figure["side"] for figure in figures if figure["table"] == "Training from files"}
    assert {"ours", "ours: waiting for images", "torchvision's reference recipe, --amp"} <= sides
    text = (tmp_path / "out" / "gpu.md").read_text()
    assert "| tests | skipped | 0 | they need a GPU |" in text
    assert "## Training from files" in text
