"""precision_dtype=auto from the outside: one choice for all processes, kept by checkpoint and bundle."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

import thorax
from conftest import SCRIPT, TINY, options, run
from runs import equal, weights
from thorax.data.loading import BatchRequest
from thorax.files import read_sealed, write_sealed
from thorax.training import compute, probe
from trainers import before_each_batch
from warm_python import PYTHON

SETTINGS = {**TINY, "epochs": 1, "dropout": 0.3, "precision_dtype": "auto"}


def remembered() -> Path:
    return Path(os.environ["XDG_CACHE_HOME"]) / "thorax" / compute.CACHE


def choose_instead(**changes: object) -> None:
    """Makes the machine one that measured otherwise."""
    known = read_sealed(remembered())
    assert known
    write_sealed({key: {**choice, **changes} for key, choice in known.items()}, remembered(), "cache file")


def test_a_run_resumed_where_another_choice_is_better_gives_the_same_bits(
    images, tmp_path, monkeypatch, capsys, signals_as_before
):
    monkeypatch.setattr(compute, "WORTH_MEASURING", 1)
    monkeypatch.setattr(probe, "SHORT_RUN", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given = {"train": images / "train", "test": images / "test"}
    thorax.train(SETTINGS, **given, output=tmp_path / "first")
    choose_instead(precision="bfloat16", channels_last=False)
    capsys.readouterr()
    whole = thorax.train(SETTINGS, **given, output=tmp_path / "whole")
    assert f"precision: bfloat16, contiguous, 1 thread: remembered in {remembered()}" in capsys.readouterr().out

    seen: list[BatchRequest] = []
    before_each_batch(monkeypatch, lambda request: seen.append(request))
    before_each_batch(monkeypatch, lambda request: len(seen) == 2 and os.kill(os.getpid(), signal.SIGINT))
    assert thorax.train(SETTINGS, **given, output=tmp_path / "stopped").stopped
    choose_instead(precision="float32", channels_last=True)
    capsys.readouterr()
    resumed = thorax.train(SETTINGS, **given, output=tmp_path / "stopped")
    said = "precision: bfloat16, contiguous, 1 thread: as in the checkpoint, for the same bits; here float32,"
    assert said in capsys.readouterr().out
    assert equal(weights(resumed.bundle), weights(whole.bundle))
    stored = json.loads((resumed.bundle / "bundle.json").read_text())
    assert stored["compute"] == {"precision": "bfloat16", "channels_last": False, "threads": 1}


#: train_model.py, where no run is too short to be measured.
MEASURING = """
import sys
from thorax.training import compute, probe
compute.WORTH_MEASURING, probe.SHORT_RUN = 1, 0.0
import train_model
sys.exit(train_model.main(sys.argv[1:]))
"""


def test_processes_compute_in_the_same_way(images, tmp_path):
    out, script = tmp_path / "model", tmp_path / "measuring.py"
    script.write_text(MEASURING)
    settings = {**TINY, "epochs": "1", "precision_dtype": "auto"}
    here = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
    launch = [PYTHON, "-m", "torch.distributed.run", *here, str(script)]
    words = [*launch, "--train", str(images / "train"), "--model-dir", str(out), *options(settings)]
    done = run(words, PYTHONPATH=str(SCRIPT.parent))
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("precision: ")]
    assert len(lines) == 1 and "measured in" in lines[0] and "of 4 images at" in lines[0]
    chosen = json.loads((out / "bundle.json").read_text())["compute"]
    assert lines[0].startswith(f"precision: {chosen['precision']}, ")


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_what_is_asked_for_is_what_the_bundle_says(images, tmp_path, asked):
    if asked == "bfloat16" and not thorax.machine.cpu_has_bfloat16():
        pytest.skip("bfloat16 is refused where the CPU has no arithmetic for it")
    settings = {**SETTINGS, "precision_dtype": asked, "channels_last": False}
    result = thorax.train(settings, train=images / "train", output=tmp_path)
    stored = json.loads((result.bundle / "bundle.json").read_text())
    assert stored["compute"] == {"precision": asked, "channels_last": False, "threads": 1}
