"""thorax.train: a run in this process, as train_model.py makes it in a job, that leaves the process as it was."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

import thorax
from conftest import TINY, command, run
from runs import equal, weights
from thorax.config import TrainingConfig
from thorax.data.loading import BatchRequest
from thorax.errors import ThoraxError
from trainers import before_each_batch

#: The smallest run, with random numbers in its steps.
SETTINGS = {**TINY, "epochs": 1, "dropout": 0.3, "seed": 3}


def process_state() -> tuple[object, ...]:
    """What a run changes while it lasts."""
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    return *handlers, torch.get_num_threads(), torch.get_rng_state().tolist()


@pytest.fixture(scope="module")
def told(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The bundle of the same run by the command line, and what it printed."""
    out = tmp_path_factory.mktemp("command") / "model"
    done = run(command(images, out, epochs="1", dropout="0.3", log_seconds="0.1"))
    assert done.returncode == 0, done.stderr
    return out, done.stdout


@pytest.fixture
def by_command(told: tuple[Path, str]) -> Path:
    return told[0]


def test_whole_lines_where_there_is_no_terminal(told: tuple[Path, str]) -> None:
    assert "\r" not in told[1]
    (resolved,) = (line for line in told[1].splitlines() if line.startswith("configuration: "))
    assert TrainingConfig.from_dict(json.loads(resolved.removeprefix("configuration: "))).network == "cnn5"
    assert told[1].splitlines()[-1].startswith("best epoch 1/1: train_loss=")


def test_it_trains_as_the_command_does_and_leaves_the_process_as_it_was(images, tmp_path, by_command, capsys):
    before = process_state()
    result = thorax.train(SETTINGS, train=images / "train", test=str(images / "test"), output=tmp_path / "job")
    assert process_state() == before
    assert result.bundle == tmp_path / "job/model"
    assert equal(weights(result.bundle), weights(by_command))
    assert not result.stopped
    assert result.report == tmp_path / "job/output/data/report.html"
    assert result.report.is_file()
    assert result.metrics == json.loads((tmp_path / "job/output/data/metrics.json").read_text())
    assert [row["epoch"] for row in result.history] == [1]
    assert list((tmp_path / "job/checkpoints").glob("checkpoint-*.pt"))
    assert capsys.readouterr().out.splitlines()[-1].startswith("best: epoch 1 of 1  loss ")


def test_a_stopped_run_goes_on_when_it_is_called_again(images, tmp_path, by_command, monkeypatch, capsys):
    seen: list[BatchRequest] = []

    def stop_at_third(request: BatchRequest) -> None:
        seen.append(request)
        if len(seen) == 4:  # the first is for the picture of a batch
            os.kill(os.getpid(), signal.SIGINT)

    before = process_state()
    with monkeypatch.context() as patch:
        before_each_batch(patch, stop_at_third)
        stopped = thorax.train(SETTINGS, train=images / "train", test=images / "test", output=tmp_path)
    assert process_state() == before
    assert (stopped.stopped, stopped.stop_reason, stopped.metrics) == (True, "SIGINT", {})
    assert not stopped.bundle.exists() or not list(stopped.bundle.iterdir())
    capsys.readouterr()
    result = thorax.train(SETTINGS, train=images / "train", test=images / "test", output=tmp_path)
    assert "resumed from a checkpoint at epoch 1 step 2/5" in capsys.readouterr().out
    assert not result.stopped
    assert equal(weights(result.bundle), weights(by_command))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train": "nowhere"}, "channel train: nowhere does not exist"),
        ({"train": "s3://bucket/images"}, "--train s3://bucket/images is not a folder of this machine"),
        ({"config": {"lerning_rate": 1}}, "unknown hyperparameter lerning_rate; did you mean learning_rate?"),
        ({"config": {**SETTINGS, "loss": "bcee"}}, "did you mean bce?"),
        ({"channels": {"tset": "x"}}, "channel tset is unknown; known are train, validation, test"),
        ({"channels": {"train": "x"}}, "channel train is given twice"),
        ({"weights": "nowhere.pt"}, "nowhere.pt"),
        (
            {"weights": "a.pt", "config": {**SETTINGS, "weights": "b.pt"}},
            "weights=a.pt and the hyperparameter weights=b.pt are given; give one of them",
        ),
    ],
)
def test_a_mistake_is_a_thorax_error_and_leaves_the_process_as_it_was(images, tmp_path, given, message):
    before = process_state()
    with pytest.raises(ThoraxError) as caught:
        thorax.train(**{"config": SETTINGS, "train": images / "train", "output": tmp_path} | given)
    assert message in str(caught.value)
    assert process_state() == before


def test_what_differs_from_the_defaults_is_a_table_and_what_has_no_effect_a_line(images, tmp_path, capsys):
    settings = {"epochs": 1, "lr_scheduler_step": "8,10", "optimizer": "sgd"}
    with pytest.raises(ThoraxError):
        thorax.train(settings, train=tmp_path / "empty", output=tmp_path)
    assert capsys.readouterr().out == "", "refused before anything is logged"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ThoraxError):
        thorax.train(settings, train=tmp_path / "empty", output=tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "configuration: differs from the defaults in",
        "  epochs             1  (default: 30)",
        "  optimizer          sgd  (default: adamw)",
        "  lr_scheduler_step  8,10  (default: not set)",
        "warning: lr_scheduler_step=8,10 beyond epochs=1 has no effect: the run ends before",
    ]
