"""The GPU proof kit: rehearsed on the CPU in small, so that it runs the day a GPU is there. Its figures are no test."""

from __future__ import annotations

import json
import subprocess
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


def test_all_parts_run_in_small_and_are_written(tmp_path):
    parts = "step,files,scoring,memory,jpeg,bare,tests"
    words = ["--small", "--device", "cpu", "--out", str(tmp_path / "out"), "--parts", parts]
    done = run([*KIT, *words])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert found["machine"]["torch"] == torch.__version__
    assert {part["name"]: part["status"] for part in found["parts"]} == {
        "images": "passed",
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


def test_a_part_that_fails_is_told_and_the_others_go_on(tmp_path):
    """A part without a function."""
    script = tmp_path / "broken.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'bench')!r})\n"
        "import gpu\n"
        "gpu.PARTS = (gpu.PARTS[0], gpu.Part('broken', 'images:nothing', 60), gpu.Part('jpeg', 'serving:jpeg', 60))\n"
        f"sys.exit(gpu.main(['--small', '--device', 'cpu', '--out', {str(tmp_path)!r}]))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [(part["name"], part["status"]) for part in parts] == [
        ("images", "passed"),
        ("broken", "failed"),
        ("jpeg", "passed"),
    ]
    assert "AttributeError" in parts[1]["reason"]
