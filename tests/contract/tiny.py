"""What the start-up tests share: a tiny image set, a tiny configuration, a plain run to compare with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from warm_python import PYTHON

REPO = Path(__file__).resolve().parents[2]
SOURCE_DIR = REPO / "source_dir"

#: A run of seconds; one thread and no reading workers, so that it is the same bit for bit wherever it is started.
SETTINGS = {
    "network": "cnn5",
    "image_shape": "1,64,64",
    "epochs": "2",
    "batch_size": "8",
    "optimizer": "sgd",
    "learning_rate": "0.001",
    "num_workers": "0",
    "threads": "1",
    "precision_dtype": "float32",
    "bootstrap_samples": "20",
    "use_weighted_loss": "true",
    "seed": "3",
}


def write_images(root: Path, train: int = 24, test: int = 6) -> Path:
    """root/train and root/test, each NORMAL and PNEUMONIA with that many 64 x 64 images; a patient has one."""
    rng = np.random.default_rng(0)
    for part, images, first in (("train", train, 0), ("test", test, 1000)):
        for label, mark in (("NORMAL", 0), ("PNEUMONIA", 60)):
            (root / part / label).mkdir(parents=True)
            for i in range(first, first + images):
                image = rng.integers(60, 120, (64, 64), dtype=np.uint8)
                image[24:40, 10:26] += np.uint8(mark)
                name = f"person{i}_bacteria_{i}" if mark else f"IM-{i:04d}-0001"
                Image.fromarray(image).save(root / part / label / f"{name}.png")
    return root


def run_plain(images: Path, out: Path, settings: dict[str, str]) -> dict[str, Any]:
    """The result of `python source_dir/train_model.py`, started as a person would."""
    options = [word for key, text in settings.items() for word in (f"--{key}", text)]
    paths = [
        "--train",
        str(images / "train"),
        "--test",
        str(images / "test"),
        "--model-dir",
        str(out / "model"),
        "--output-data-dir",
        str(out / "data"),
        "--checkpoint-dir",
        str(out / "checkpoints"),
    ]
    command = [PYTHON, str(SOURCE_DIR / "train_model.py"), *paths, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return result(out / "model", out / "data")


def result(bundle: Path, data: Path) -> dict[str, Any]:
    """What a run came to: its scores, its configuration and its weights; nothing that depends on the clock."""
    from safetensors.torch import load_file

    metrics = json.loads((data / "metrics.json").read_text())
    for clocked in ("images_per_second", "data_wait", "epoch_seconds"):
        metrics["at_best_epoch"].pop(clocked)
    metrics.pop("training")
    weights = load_file(bundle / "model.safetensors")
    return {
        "metrics": metrics,
        "losses": [float(line.split(",")[1]) for line in (data / "history.csv").read_text().splitlines()[1:]],
        "configuration": json.loads((bundle / "bundle.json").read_text())["configuration"],
        "weights": {name: tensor.double().sum().item() for name, tensor in weights.items()},
    }


def assert_same_training(found: dict[str, Any], plain: dict[str, Any]) -> None:
    """The same run with another number of processes: every image scored once, losses equal but for rounding.

    Rounding grows from step to step, so the first epoch is held to much more than the last.
    """
    assert found["configuration"] == plain["configuration"]
    for part in ("validation", "test"):
        assert {k: found["metrics"][part][k] for k in ("n", "patients")} == {
            k: plain["metrics"][part][k] for k in ("n", "patients")
        }
    assert found["losses"][0] == pytest.approx(plain["losses"][0], rel=1e-5)
    assert found["losses"] == pytest.approx(plain["losses"], rel=1e-2)


def processes_naming(text: str) -> Iterator[psutil.Process]:
    """Living processes whose command line or SAGEMAKER_BASE_DIR holds `text`."""
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("SAGEMAKER_BASE_DIR", "")]
            if process.status() != psutil.STATUS_ZOMBIE and any(text in word for word in words):
                yield process
        except psutil.Error:
            continue
