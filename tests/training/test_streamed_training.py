"""Training from shards: killed and started again, and with two processes, it is the same training."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
import torch

from conftest import clean_environment, command, run
from runs import equal, history, wait_for_checkpoints, weights
from thorax_launch.cli import prepare
from warm_python import PYTHON

SETTINGS = {
    "network": "cnn5",
    "optimizer": "sgd",
    "learning_rate": "0.0005",
    "batch_size": "4",
    "epochs": "2",
    "checkpoint_minutes": "0",
    "augmentation_type": "xray",
    "shuffle_buffer": "12",
}


@pytest.fixture(scope="module")
def shards(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small images, packed: train/ and test/ with shards of 7."""
    root = tmp_path_factory.mktemp("packed")
    for part in ("train", "test"):
        assert (
            prepare.main(["pack", str(images / part), str(root / part), "--shard-images", "7", "--processes", "1"]) == 0
        )
    return root


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("whole") / "model"
    done = run(command(shards, out, **SETTINGS))
    assert done.returncode == 0, done.stderr
    assert "streaming: shards are read in order, 12 images wait in memory" in done.stdout
    return out


def test_kill_9_in_mid_epoch_and_another_number_of_workers_change_no_bit(
    shards: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    process = subprocess.Popen(
        command(shards, out, **SETTINGS),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    wait_for_checkpoints(process, tmp_path / "model-job/checkpoints", 14)  # 10 steps an epoch
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    done = run(command(shards, out, **{**SETTINGS, "num_workers": "2"}))
    assert done.returncode == 0, done.stderr
    assert "resumed from a checkpoint at epoch" in done.stdout
    assert equal(weights(out), weights(whole))
    assert history(out) == history(whole)


def test_two_processes_read_their_own_lanes_and_train_as_one_does(shards: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    launcher = [
        PYTHON,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--local-addr",
        "127.0.0.1",
        "--nproc-per-node",
        "2",
    ]
    done = run([*launcher, *command(shards, out, **SETTINGS)[1:]])
    assert done.returncode == 0, done.stderr
    one, two = ([[float(v) for v in line.split(",")[1:3]] for line in history(o)[1:]] for o in (whole, out))
    assert len(one) == 2
    assert torch.allclose(torch.tensor(one), torch.tensor(two), rtol=2e-3), (one, two)
