"""A run that is killed or stopped goes on as if it never had been."""

from __future__ import annotations

import csv
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import train_model
from conftest import clean_environment, command, run
from runs import equal, history, wait_for_checkpoints, weights
from warm_python import PYTHON

#: EMA, dropout (random numbers in the step), two epochs of 10 steps, checkpoints all the time, of few megabytes.
SETTINGS = {
    "network": "shufflenet_v2_x0_5",
    "ema_decay": "0.9",
    "dropout": "0.3",
    "batch_size": "4",
    "checkpoint_minutes": "0",
    "augmentation_type": "xray",
}

#: Two processes.
TWO = [PYTHON, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2"]


#: Gives exit code, output and errors.
Again = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("whole") / "model"
    done = run(command(images, out, **SETTINGS))
    assert done.returncode == 0, done.stderr
    return out


def start(images: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(images, out, **SETTINGS),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )


def test_kill_9_at_two_random_moments_changes_no_bit(images: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    chosen = random.Random(5)
    kills = 0
    for target in sorted(chosen.sample(range(1, 18), 2)):
        process = start(images, out)
        wait_for_checkpoints(process, tmp_path / "model-job/checkpoints", target)
        time.sleep(chosen.random() * 0.1)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        process.communicate()
    assert kills == 2
    assert not (out / "bundle.json").exists()
    done = run(command(images, out, **SETTINGS))
    assert done.returncode == 0, done.stderr
    assert "resumed from a checkpoint at epoch" in done.stdout
    assert equal(weights(out), weights(whole))
    assert history(out) == history(whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_cleanly_and_the_same_command_goes_on(
    images: Path, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "model"
    process = start(images, out)
    wait_for_checkpoints(process, tmp_path / "model-job/checkpoints", 12)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == (0 if number == signal.SIGTERM else 130)
    assert f"stopped by {number.name} at epoch 2 step" in stdout
    assert stderr == ""
    assert not (out / "bundle.json").exists()
    if number == signal.SIGTERM:  # the checkpoint of both is the same
        done = run(command(images, out, **SETTINGS))
        assert done.returncode == 0, done.stderr
        assert equal(weights(out), weights(whole))


# -- The same in this process: what an earlier process left is what counts ---------------------------------------------


@pytest.fixture
def again(images: Path, signals_as_before: None, capsys: pytest.CaptureFixture[str]) -> Again:
    """Runs train_model.py's main in a bundle's folder, with further settings."""

    def ran(out: Path, **settings: str) -> tuple[int, str, str]:
        code = train_model.main(command(images, out, **{**SETTINGS, **settings})[2:])
        return code, *capsys.readouterr()

    return ran


def test_a_finished_run_started_again_scores_again_and_gives_the_same_bundle(whole: Path, again: Again) -> None:
    before, described = weights(whole), (whole / "bundle.json").read_text()
    code, told, error = again(whole)
    assert code == 0, error
    assert "resumed from a checkpoint at its end" in told
    assert equal(weights(whole), before)
    assert (whole / "bundle.json").read_text() == described


def test_a_torn_newest_checkpoint_is_reported_and_the_one_before_it_used(
    whole: Path, tmp_path: Path, again: Again
) -> None:
    out = tmp_path / "model"
    checkpoints = shutil.copytree(whole.with_name("model-job") / "checkpoints", tmp_path / "model-job/checkpoints")
    newest = max(checkpoints.glob("checkpoint-*.pt"))
    newest.write_bytes(newest.read_bytes()[:5000])
    code, told, error = again(out)
    assert code == 0, error
    assert f"{newest} is torn or not a checkpoint; trying the one before it" in told
    assert equal(weights(out), weights(whole))


def test_images_that_were_overwritten_are_told(images: Path, whole: Path, tmp_path: Path, again: Again) -> None:
    """One image has the pixels of another now, under its old name, size and label."""
    out = tmp_path / "model"
    shutil.copytree(whole.with_name("model-job") / "checkpoints", tmp_path / "model-job/checkpoints")
    changed = shutil.copytree(images, tmp_path / "images")
    code, told, error = again(out, train=str(changed / "train"), test=str(changed / "test"))
    assert code == 0, error
    assert "resumed from a checkpoint at its end" in told, "the same bytes in another place are the same images"
    first, second = sorted((changed / "train").glob("*/*"))[:2]
    shutil.copy(second, first)
    code, _, error = again(out, train=str(changed / "train"), test=str(changed / "test"))
    assert code == 1
    assert "the images are not those that checkpoint" in error
    assert "some have other bytes now; bring them back, or choose another job name" in error


def test_another_configuration_is_refused_with_both_values(whole: Path, again: Again) -> None:
    code, _, error = again(whole, learning_rate="0.5")
    assert code == 1
    assert "learning_rate=0.001 there, 0.5 here" in error
    assert len(error.strip().splitlines()) == 1
    assert (whole / "bundle.json").exists()


# -- Several processes ------------------------------------------------------------------------------------------


def test_one_process_and_two_give_the_same_loss_curve(images: Path, tmp_path: Path) -> None:
    # A rate at which rounding does not grow from step to step: at five times this one it is 0.7 % after two epochs.
    settings = {
        "network": "resnet18",
        "optimizer": "sgd",
        "learning_rate": "0.0001",
        "use_weighted_loss": "true",
        "augmentation_type": "xray",
    }
    one, two = tmp_path / "one", tmp_path / "two"
    words = command(images, two, **settings)
    for done in (run(command(images, one, **settings)), run([*TWO, *words[1:]])):
        assert done.returncode == 0, done.stderr
    curves = [[[float(v) for v in line.split(",")[1:3]] for line in history(out)[1:]] for out in (one, two)]
    assert len(curves[0]) == 2
    assert torch.allclose(torch.tensor(curves[0]), torch.tensor(curves[1]), rtol=1e-3), curves
    ids = [
        [
            line.split(",")[1]
            for line in (o.with_name(o.name + "-job") / "output/data/predictions.csv").read_text().splitlines()
        ]
        for o in (one, two)
    ]
    assert ids[0] == ids[1]
    assert len(set(ids[1])) == len(ids[1])


def test_without_synced_batch_norm_all_processes_score_the_network_that_is_kept(images: Path, tmp_path: Path) -> None:
    settings = {
        "network": "shufflenet_v2_x0_5",
        "sync_batchnorm": "false",
        "use_weighted_loss": "false",
        "calibration": "none",
        "epochs": "1",
        "ema_decay": "0.5",
    }
    words = command(images, tmp_path / "out", **settings)
    done = run([*TWO, *words[1:]])
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out-job/output/data/predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "validation"]
    p, target = (
        torch.tensor([float(row[f"{column}:PNEUMONIA"]) for row in rows]) for column in ("probability", "target")
    )
    with (tmp_path / "out-job/output/data/history.csv").open(newline="") as file:
        (epoch,) = csv.DictReader(file)
    loss = float(epoch["validation_loss"])
    assert float(torch.nn.functional.binary_cross_entropy(p, target)) == pytest.approx(loss, rel=1e-4)


def test_processes_with_unequal_shares_of_a_small_set_stay_in_step(images: Path, tmp_path: Path) -> None:
    """13 images for two processes: 7 and 6, each in 4 parts; batch norms meet in every one."""
    few = tmp_path / "images"
    for name, count in (("NORMAL", 7), ("PNEUMONIA", 6)):
        (few / "train" / name).mkdir(parents=True)
        for image in sorted((images / "train" / name).iterdir())[:count]:
            shutil.copy(image, few / "train" / name)
    words = command(
        few,
        tmp_path / "out",
        network="shufflenet_v2_x0_5",
        batch_size="32",
        accumulation_steps="4",
        epochs="1",
        validation=str(images / "test"),
    )
    words[words.index("--test") : words.index("--test") + 2] = []
    done = run([*TWO, *words[1:]])
    assert done.returncode == 0, done.stderr
    assert "train: 13 images" in done.stdout
