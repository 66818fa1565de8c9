"""Every format trains a job to its end: three of them through launch/train.py and the toolkit, the others in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from channels import FORMATS
from conftest import ROOT, TINY, clean_environment, options

import train_model

pytestmark = pytest.mark.usefixtures("signals_as_before")
QUICK = TINY | {"epochs": "1", "bootstrap_samples": "0", "threshold_views": "0"}
#: What a job of each format must have seen: films of every part, classes.
SEEN = {
    "lst": ({"train": 48, "validation": 16}, ["NORMAL", "PNEUMONIA"]),
    "recordio": ({"train": 48, "validation": 16}, ["NORMAL", "PNEUMONIA"]),
    "manifest": ({"test": 16}, ["NORMAL", "PNEUMONIA"]),
    "csv": ({"train": 40, "validation": 8, "test": 16}, ["NORMAL", "PNEUMONIA"]),
    "parquet": ({"train": 40, "validation": 8, "test": 16}, ["NORMAL", "PNEUMONIA"]),
    "nih": ({"test": 16}, ["Mass", "Nodule"]),
    "coco": ({"train": 32, "validation": 11}, ["dog", "person"]),
    "root": ({"test": 16}, ["NORMAL", "PNEUMONIA"]),
    "shards": ({"test": 16}, ["NORMAL", "PNEUMONIA"]),
}


def check(kind: str, bundle: Path, data: Path) -> None:
    counts, classes = SEEN[kind]
    stored = json.loads((bundle / "bundle.json").read_text())
    found = stored["split"]["counts"]
    assert {part: found[part] for part in counts} == counts
    if kind not in ("lst", "recordio", "coco"):
        assert found["train"] + found["validation"] == 48
    metrics = json.loads((data / "metrics.json").read_text())
    assert metrics["labels"]["classes"] == classes
    assert (data / "report.html").is_file()
    assert (bundle / "model.pt").is_file()


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("lst", "recordio", "coco")])
def test_trains(kind: str, films: Path, tmp_path: Path) -> None:
    write, settings = FORMATS[kind]
    channels = {name: str(path) for name, path in write(films, tmp_path / "data").items()}
    assert train_model.main([*options({**channels, **QUICK, **settings}), "--model-dir", str(tmp_path / "model")]) == 0
    check(kind, tmp_path / "model", tmp_path / "model-job" / "output" / "data")


@pytest.mark.parametrize("kind", ["lst", "recordio", "coco"])
def test_trains_through_the_launcher(kind: str, films: Path, tmp_path: Path) -> None:
    """As a container gets it: channels as SM_CHANNEL_..., hyperparameters through the toolkit."""
    write, settings = FORMATS[kind]
    (tmp_path / "own.yaml").write_text("hyperparameters: {}\n")
    given = [word for name, path in write(films, tmp_path / "data").items() for word in ("--channel", f"{name}={path}")]
    changes = [word for name, value in {**QUICK, **settings}.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, str(ROOT / "launch" / "train.py"), "own.yaml", "--local", "--job-name", "it", *given, *changes]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, env=clean_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    check(kind, tmp_path / "runs/it/model", tmp_path / "runs/it/output/data")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--channel", "trail=."], "--channel trail=. must be NAME=PATH with a name of train, validation, test, train_lst,"),
        (["--channel", "train_lst"], "--channel train_lst must be NAME=PATH"),
        (["--train", ".", "--channel", "training=films"], "channel train is given twice, . and films; give it once"),
        (["--channel", "train=nowhere"], "--train nowhere does not exist"),
    ],
)
def test_a_wrong_channel(words: list[str], told: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "launch" / "train.py"), "demo", "--local", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, env=clean_environment())
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {told}")
    assert done.stderr.count("\n") == 1
