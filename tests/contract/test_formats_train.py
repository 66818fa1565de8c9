"""Every format trains to its end: in this process, and one of four channels under the toolkit as in a container."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import thorax
from channels import FORMATS
from conftest import ROOT, TINY, clean_environment
from thorax_launch.cli import train
from warm_python import PYTHON

QUICK = TINY | {"epochs": "1", "bootstrap_samples": "0", "threshold_views": "0"}
#: What a job of each format must have seen: images of every part, and its labels. Where train is not named, validation
#: is cut from it.
KAGGLE = ["NORMAL", "PNEUMONIA"]
SEEN = {
    "folder": ({"test": 16}, KAGGLE),
    "lst": ({"train": 48, "validation": 16}, KAGGLE),
    "recordio": ({"train": 48, "validation": 16}, KAGGLE),
    "manifest": ({"test": 16}, KAGGLE),
    "csv": ({"train": 40, "validation": 8, "test": 16}, KAGGLE),
    "parquet": ({"train": 40, "validation": 8, "test": 16}, KAGGLE),
    "nih": ({"test": 16}, ["Mass", "Nodule"]),
    "coco": ({"train": 32, "validation": 11}, ["dog", "person"]),
    "root": ({"test": 16}, KAGGLE),
    "shards": ({"test": 16}, KAGGLE),
}


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "lst"])
def test_trains(kind: str, images: Path, tmp_path: Path) -> None:
    write, settings = FORMATS[kind]
    channels = write(images, tmp_path / "data")
    thorax.train({**QUICK, **settings}, train=channels.pop("train"), channels=channels, output=tmp_path / "job")
    check(kind, tmp_path / "job")


def test_four_channels_train_under_the_toolkit(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PIP_NO_DEPS", "1")  # the toolkit's pip: a second instead of three
    monkeypatch.setattr(sys, "executable", PYTHON)
    write, settings = FORMATS["lst"]
    Path("own.yaml").write_text("hyperparameters: {}\n")
    given = [
        word for name, path in write(images, tmp_path / "data").items() for word in ("--channel", f"{name}={path}")
    ]
    changes = [word for name, value in {**QUICK, **settings}.items() for word in ("--set", f"{name}={value}")]
    assert train.main(["own.yaml", "--local", "--job-name", "it", *given, *changes]) == 0
    check("lst", tmp_path / "runs/it")


def check(kind: str, job: Path) -> None:
    """The job saw the images and labels of its format, and wrote what every job writes."""
    counts, classes = SEEN[kind]
    found = json.loads((job / "model/bundle.json").read_text())["split"]["counts"]
    assert {part: found[part] for part in counts} == counts
    assert "train" in counts or found["train"] + found["validation"] == 48
    assert json.loads((job / "output/data/metrics.json").read_text())["labels"]["classes"] == classes
    assert (job / "output/data/report.html").is_file()
    assert (job / "model/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--channel", "trail=."],
            "--channel trail=. must be NAME=PATH with a name of train, validation, test, train_lst,",
        ),
        (["--channel", "train_lst"], "--channel train_lst must be NAME=PATH"),
        (["--train", ".", "--channel", "training=images"], "channel train is given twice, . and images; give it once"),
        (["--channel", "train=nowhere"], "--train nowhere does not exist"),
    ],
)
def test_a_wrong_channel(words: list[str], message: str, tmp_path: Path) -> None:
    command = [PYTHON, str(ROOT / "launch" / "train.py"), "demo", "--local", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, env=clean_environment())
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
