"""A bundle written by this torch serves under the oldest and the newest that AWS's images hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import command, run

#: torch and the torchvision that fits it.
PAIRS = [("2.6.0", "0.21.0"), ("2.14.0", "0.29.0")]
SERVE = """
import json, sys
import torch
from inference import input_fn, model_fn, output_fn, predict_fn
model = model_fn(sys.argv[1])
body = open(sys.argv[2], "rb").read()
answer, kind = output_fn(predict_fn(input_fn(body, "image/png"), model), "application/json")
print(json.dumps([torch.__version__, json.loads(answer)]))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("torch_version", "vision_version"), PAIRS)
def test_the_bundle_answers_the_same(images: Path, tmp_path: Path, torch_version: str, vision_version: str) -> None:
    out = tmp_path / "model"
    done = run(command(images, out, network="resnet18", epochs="1"))
    assert done.returncode == 0, done.stderr
    image = sorted((images / "test/PNEUMONIA").iterdir())[0]
    here = serve([sys.executable], out, image)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    packages = [f"torch=={torch_version}", f"torchvision=={vision_version}", "numpy", "pillow"]
    installed = subprocess.run(
        [str(venv / "bin/python"), "-m", "pip", "install", "-q", *packages], capture_output=True, text=True
    )
    if installed.returncode:
        pytest.skip(f"pip cannot install torch {torch_version}: {installed.stderr.strip().splitlines()[-1]}")
    there = serve([str(venv / "bin/python")], out, image)
    assert there[0].startswith(torch_version)
    assert there[1] == pytest.approx(here[1], abs=1e-4)


def serve(python: list[str], bundle: Path, image: Path) -> tuple[str, list[float]]:
    """(torch's version, probabilities) from the bundle's own code alone."""
    done = subprocess.run(
        [*python, "-c", SERVE, str(bundle), str(image)], capture_output=True, text=True, cwd=bundle / "code"
    )
    assert done.returncode == 0, done.stderr
    version, answer = json.loads(done.stdout.splitlines()[-1])
    return version, answer
