"""Local jobs with the real trainer, from Python and on the terminal."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.launching import TRAIN, Running, launch, place_of, until
from contract.tiny import REPO, SETTINGS, processes_naming, result, run_plain, write_images
from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax_launch import local
from thorax_launch.local.configuration import readable
from warm_python import PYTHON


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with images and stand-in code; afterwards nothing that was started in it may be alive."""
    yield from place_of(tmp_path)


def test_a_real_run_stopped_and_resumed_ends_as_if_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_DEPS", "1")  # the toolkit's pip: a second instead of three
    images = write_images(tmp_path / "images")
    settings = SETTINGS | {"epochs": "6"}
    plain = run_plain(images, tmp_path / "plain", settings)
    changes = [word for key, text in settings.items() for word in ("--set", f"{key}={text}")]
    folders = ["--train", str(images / "train"), "--test", str(images / "test")]
    (tmp_path / "own.yaml").write_text("hyperparameters: {}\n")
    command = [PYTHON, *TRAIN[1:], "own.yaml", "--local", "--job-name", "real", *folders, *changes]
    first = Running(command, tmp_path)
    first.wait_for("epoch 1/6")
    first.ctrl_c()
    assert first.end() == 130
    job = tmp_path / "runs" / "real"
    assert any((job / "checkpoints").iterdir())
    assert not any((job / "model").iterdir())
    assert first.lines[-1].startswith(
        f"job real is stopped; to go on: python {REPO / 'launch' / 'train.py'} own.yaml --local --job-name real "
    )
    second = Running(command, tmp_path)
    assert second.end() == 0, second.lines
    ours = result(job / "model", job / "output" / "data")
    assert ours["losses"] == plain["losses"]
    assert ours["weights"] == plain["weights"]
    assert [line.split()[0] for line in second.lines[-4:]] == ["bundle", "report", "metrics", "log"]
    assert (job / "output" / "data" / "report.html").is_file()
    assert list(processes_naming(str(tmp_path))) == []


@pytest.mark.parametrize("weights", ["file", "folder"])
def test_weights_are_a_channel(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is no state_dict is refused by the trainer by the channel's path, which shows that it got there."""
    monkeypatch.setenv("PIP_NO_DEPS", "1")
    images = write_images(tmp_path / "images", 6, 2)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "bad.pt").write_bytes(b"no weights")
    path = tmp_path / "given" / ("bad.pt" if weights == "file" else "")
    done = launch(
        "demo",
        "--local",
        "--train",
        images / "train",
        "--weights",
        path,
        "--set",
        "epochs=1",
        "--job-name",
        "w",
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "bad.pt" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")


def test_a_job_is_a_handle(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Also outside the main thread, as in a notebook's server: no signal handler is set."""
    monkeypatch.chdir(place)
    monkeypatch.setattr("thorax_launch.paths.source_dir", lambda: place / "source")
    before = signal.getsignal(signal.SIGINT)
    found: list[object] = []

    def work() -> None:
        with local.train("demo", {"train": "images"}, hyperparameters={"objective": "loss"}, job_name="it") as job:
            until(lambda: job.log.is_file() and "ready" in job.log.read_text(), "the script runs")
            found.extend([job.name, job.running, job.status])
            with pytest.raises(
                ThoraxError, match=r"^job it is InProgress and has no metrics; wait for it to complete$"
            ):
                job.metrics  # noqa: B018
        found.extend([job.running, job.status, job.wait(), job.failure])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(200)
    assert found == ["it", True, "InProgress", False, "Stopped", 130, None]
    assert (place / "runs" / "it" / "checkpoints" / "0").read_text() == "saved"
    assert signal.getsignal(signal.SIGINT) is before
    assert "ready" not in capsys.readouterr().out  # wait(quiet=True) shows no log


def test_what_a_finished_job_knows(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("thorax_launch.paths.source_dir", lambda: place / "source")
    start = functools.partial(local.train, "demo", {"train": "images"})
    done = start(hyperparameters={"objective": "auc", "epochs": 3}, job_name="done")
    assert (done.wait(), done.status, done.failure) == (0, "Completed", None)
    words = json.loads((done.bundle / "argv0.json").read_text())
    assert words[words.index("--epochs") + 1] == "3"
    (done.directory.data / "metrics.json").write_text('{"n": 1}')
    assert done.metrics == {"n": 1}
    assert done.report == place / "runs" / "done" / "output" / "data" / "report.html"
    failed = start(hyperparameters={"objective": "f1"}, job_name="failed")
    assert failed.wait() != 0
    assert (failed.status, failed.failure) == ("Failed", "labels=A names one label")
    assert failed.wait() != 0  # a second time, at once


def test_the_configuration_is_a_table_on_the_terminal(tmp_path: Path) -> None:
    defaults = TrainingConfig().to_dict()
    line = json.dumps({**defaults, "epochs": 3, "labels": ["A", "B"], "use_weighted_loss": True})
    head, *rows = readable(f"configuration: {line}", tmp_path / "train.log").splitlines()
    assert head == f"configuration: unlike the defaults (all {len(defaults)}: {tmp_path / 'train.log'})"
    assert sorted(row.split() for row in rows) == [
        ["epochs", "3", "default", "30"],
        ["labels", "A,B", "default", "none"],
        ["use_weighted_loss", "true", "default", "false"],
    ]
    for other in ("configuration: {", "configuration: 3", "epoch 1/3: x"):
        assert readable(other, tmp_path) == other


@pytest.mark.slow
def test_the_demo_and_its_table(tmp_path: Path) -> None:
    settings = [word for text in ("epochs=1", "warmup_epochs=0", "image_shape=1,48,48") for word in ("--set", text)]
    command = [sys.executable, str(REPO / "launch" / "demo.py"), *settings]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("validation: 58 images of 22", "test: 96 images of 43"):
        assert done.stdout.count(f"\n{part} patients, accuracy ") == 1
    assert "configuration: {" not in done.stdout
    (log,) = tmp_path.glob("runs/demo-*/output/train.log")
    assert "configuration: {" in log.read_text()
    assert "report.html" in done.stdout
    assert done.stdout.splitlines()[-4] == "next:"
