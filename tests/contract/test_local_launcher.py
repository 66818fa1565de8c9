"""launch/train.py: what it refuses, what it lays out, and that nothing is lost or left running when it is stopped."""

from __future__ import annotations

import functools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.tiny import REPO, SETTINGS, processes_naming, result, run_plain, write_images
from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax_launch import local
from thorax_launch.local.configuration import readable

TRAIN = [sys.executable, str(REPO / "launch" / "train.py")]

#: A stand-in for train_model.py; its mode is the hyperparameter `objective`, which TrainingConfig lets through.
SCRIPT = """
import json, os, signal, sys, time
base, rank = os.environ["SAGEMAKER_BASE_DIR"], os.environ.get("RANK", "0")
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
mode = options["--objective"]
def leave(place, text=""):
    with open(f"{base}/{place}", "w") as file:
        file.write(text)
if mode == "auc":
    leave(f"model/argv{rank}.json", json.dumps(sys.argv[1:]))
elif mode == "f1":
    leave("output/failure", "labels=A names one label\\n")
    sys.exit(3)
elif mode == "accuracy":
    raise KeyError("eight")
elif mode == "balanced_accuracy":  # what the toolkit takes for a success
    leave("output/failure", "a peer is gone\\n")
    print("terminate called after throwing an instance of 'gloo::EnforceNotMet'", file=sys.stderr)
    sys.exit(1)
elif mode == "loss":
    stop = []
    if options["--seed"] == "1":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    if os.fork() == 0:  # a worker that gets no signal: it holds the log open and outlives its parent
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(300)
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    while not stop:
        time.sleep(0.05)
    leave(f"checkpoints/{rank}", "saved")
    os._exit(0)
"""

#: launch/train.py with other code to run.
DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, {launch!r})
from thorax_launch.cli.local_jobs import run_job
from thorax_launch.hyperparameters import from_settings
from thorax_launch import local, paths
from thorax.errors import ThoraxError
paths.source_dir = lambda: Path("source")
try:
    job = local.train("demo", {{"train": "images"}}, hyperparameters=from_settings(sys.argv[2:]), job_name="it",
                      processes=int(sys.argv[1]))
    sys.exit(run_job(job, "the same command with --job-name it"))
except ThoraxError as error:
    print("error:", error, file=sys.stderr)
    sys.exit(1)
"""


def launch(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """launch/train.py with these arguments, to its end."""
    return subprocess.run(
        [*TRAIN, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with images and stand-in code; afterwards nothing that was started in it may be alive."""
    (tmp_path / "images").mkdir()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "train_model.py").write_text(SCRIPT)
    (tmp_path / "driver.py").write_text(DRIVER.format(launch=str(REPO / "launch")))
    yield tmp_path
    left = list(processes_naming(str(tmp_path)))
    for process in left:
        process.kill()
    assert left == []


class Running:
    """A launcher in a session of its own, as a shell's job is, with its output as it comes."""

    def __init__(self, command: list[str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, text: str, times: int = 1) -> None:
        until(lambda: sum(text in line for line in self.lines) >= times, f"{text!r} in {self.lines}")

    def ctrl_c(self) -> None:
        """As the terminal does: SIGINT to the whole group in the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> int:
        code = self.process.wait(timeout=200)
        self._reader.join(timeout=10)
        return code


def until(done: Callable[[], bool], what: str, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


def start(place: Path, *settings: str, processes: int = 1) -> Running:
    return Running([sys.executable, "driver.py", str(processes), *settings], place)


# -- The command line ----------------------------------------------------------------------------------------------


def test_help_is_instant(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert launch("--help", cwd=tmp_path).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


def test_without_local_it_is_for_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    done = launch("demo", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no region: give --region")
    assert done.stderr.endswith("or add --local to run on this machine, without AWS\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["pneumonia-resnet81"],
            "unknown recipe pneumonia-resnet81; did you mean pneumonia-resnet18?; the recipes are chestxray14-224,",
        ),
        (["nowhere.yaml"], "unknown recipe nowhere.yaml"),
        (
            ["demo", "--set", "epochs=$(touch hacked)"],
            "--set: the value of epochs holds space $ ( ); only A-Za-z0-9._,:/=+- pass",
        ),
        (["demo", "--set", "labels=A;B"], "--set: the value of labels holds ;"),
        (["demo", "--set", "labels=a'b"], "--set: the value of labels holds '"),
        (["demo", "--set", "weights=/a\nb"], "--set: the value of weights holds '\\n'"),
        (["demo", "--set", "$x=1"], "--set: '$x' is not a hyperparameter's name"),
        (["demo", "--set", "epochs"], "--set epochs must be key=value"),
        (["demo", "--set", "epochs="], "--set: epochs has no value"),
        (["demo", "--set", "batch-size=8", "--set", "batch_size=9"], "--set: batch_size is given twice, 8 and 9"),
        (["demo", "--set", "epochz=3"], "unknown hyperparameter epochz; did you mean epochs?"),
        (["demo", "--set", "epochs=many"], "epochs="),
        (
            ["demo", "--set", "num_layers=18", "--set", "network=cnn5"],
            "num_layers=18 and network=cnn5 are two spellings of network",
        ),
        (["demo", "--job-name", "a_b"], "--job-name a_b must be 1 to 63 letters, digits and hyphens"),
        (["demo", "--job-name", "-a"], "--job-name"),
        (["demo", "--job-name", "a" * 64], "--job-name"),
        (["demo", "--job-name", "synthetic"], "--job-name synthetic is taken"),
        (["demo", "--train", "nowhere"], "--train nowhere does not exist"),
        (["demo", "--test", "."], "--test without --train"),
        (["demo", "--train", ".", "--weights", "none.pt"], "--weights none.pt does not exist"),
        (["demo", "--train", ".", "--processes", "0"], "--processes 0 must be 1 or more"),
    ],
)
def test_what_it_refuses_before_it_starts_anything(arguments: list[str], message: str, tmp_path: Path) -> None:
    if arguments[-2:] == ["--job-name", "-a"]:
        arguments = [*arguments[:-2], "--job-name=-a"]
    done = launch(*arguments, "--local", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_a_job_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine" / "code").mkdir(parents=True)
    (tmp_path / "mine" / "code" / "thesis.tex").write_text("years")
    done = launch("demo", "--local", "--train", ".", "--runs", ".", "--job-name", "mine", cwd=tmp_path)
    assert done.returncode == 1
    assert "exists and is not a job's folder" in done.stderr
    assert (tmp_path / "mine" / "code" / "thesis.tex").read_text() == "years"


# -- The job directory ---------------------------------------------------------------------------------------------


def test_the_job_directory_is_that_of_a_container(place: Path) -> None:
    run = start(place, "objective=auc", "num_layers=50", "labels=NORMAL,PNEUMONIA", "use_weighted_loss=false")
    assert run.end() == 0
    job = place / "runs" / "it"
    config = {file.stem: json.loads(file.read_text()) for file in (job / "input" / "config").iterdir()}
    assert set(config) == {"hyperparameters", "inputdataconfig", "resourceconfig"}
    assert all(isinstance(value, str) for value in config["hyperparameters"].values())
    assert set(config["inputdataconfig"]) == {"train"}
    assert config["resourceconfig"]["hosts"] == [config["resourceconfig"]["current_host"]]
    assert (job / "input" / "data" / "train").resolve() == place / "images"
    words = json.loads((job / "model" / "argv0.json").read_text())
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options["--num_layers"] == "50"  # the recipe's `network` has made way for it
    assert "--network" not in options
    assert (options["--labels"], options["--use_weighted_loss"]) == ("NORMAL,PNEUMONIA", "false")
    assert run.lines[0] == "job it starts in runs/it"
    assert run.lines[-2:] == ["bundle   runs/it/model", "log      runs/it/output/train.log"]


def test_the_same_name_goes_on_with_new_code(place: Path) -> None:
    assert start(place, "objective=f1").end() == 1
    job = place / "runs" / "it"
    (job / "checkpoints" / "kept").write_text("1")
    (place / "source" / "train_model.py").write_text(SCRIPT.replace("argv{rank}", "again{rank}"))
    run = start(place, "objective=auc")
    assert run.end() == 0
    assert run.lines[0] == "job it goes on in runs/it"
    assert (job / "model" / "again0.json").exists()
    assert (job / "checkpoints" / "kept").exists()
    assert not (job / "output" / "failure").exists()
    assert (job / "output" / "train.log").stat().st_size > 0


@pytest.mark.parametrize(
    ("mode", "message"),
    [("f1", "labels=A names one label"), ("accuracy", "KeyError: 'eight'"), ("balanced_accuracy", "a peer is gone")],
)
def test_the_last_line_of_a_failed_run_says_why(mode: str, message: str, place: Path) -> None:
    run = start(place, f"objective={mode}")
    assert run.end() == 1
    assert run.lines[-2:] == ["log      runs/it/output/train.log", f"error: {message}"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_log_does_not_stop_the_run(place: Path) -> None:
    assert start(place, "objective=f1").end() == 1
    log = place / "runs" / "it" / "output" / "train.log"
    log.unlink()
    log.symlink_to("/dev/full")
    run = start(place, "objective=f1")
    assert run.end() == 1
    assert sum("train.log is not written any more: No space left on device" in line for line in run.lines) == 1
    assert run.lines[-1] == "error: labels=A names one label"


# -- Stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGINT, 2), (signal.SIGTERM, 2), (signal.SIGHUP, 1)])
def test_a_stopped_run_saves_and_ends_whole(number: signal.Signals, processes: int, place: Path) -> None:
    run = start(place, "objective=loss", processes=processes)
    run.wait_for("ready", processes)
    if number == signal.SIGINT:
        run.ctrl_c()
    else:
        run.process.send_signal(number)
    began = time.monotonic()
    assert run.end() == 130
    assert time.monotonic() - began < 50  # well below GRACE, on a busy machine too
    job = place / "runs" / "it"
    assert {file.name for file in (job / "checkpoints").iterdir()} == {str(rank) for rank in range(processes)}
    assert not (job / "output" / "failure").exists()
    assert run.lines[-1] == "job it is stopped; to go on: the same command with --job-name it"


def test_a_second_ctrl_c_kills_at_once(place: Path) -> None:
    run = start(place, "objective=loss", "seed=1", processes=2)  # deaf to SIGTERM
    run.wait_for("ready", 2)
    run.ctrl_c()
    run.wait_for("stopping: a checkpoint is being saved")
    run.ctrl_c()
    began = time.monotonic()
    assert run.end() == 130
    assert time.monotonic() - began < 50


def test_ctrl_c_before_the_script_has_begun(place: Path) -> None:
    run = start(place, "objective=loss")
    run.wait_for("job it starts")
    until(
        lambda: any("train" in " ".join(p.cmdline()) for p in processes_naming(str(place / "runs"))), "the toolkit runs"
    )
    run.ctrl_c()
    assert run.end() == 130


def test_nothing_outlives_a_launcher_that_is_killed(place: Path) -> None:
    run = start(place, "objective=loss", processes=2)
    run.wait_for("ready", 2)
    run.process.kill()
    until(lambda: not list(processes_naming(str(place))), "all are gone", 50)
    assert len(list((place / "runs" / "it" / "checkpoints").iterdir())) == 2  # stopped, not killed


def test_one_job_is_not_run_twice_at_once(place: Path) -> None:
    first = start(place, "objective=loss")
    first.wait_for("ready")
    second = start(place, "objective=auc")
    assert second.end() == 1
    assert second.lines[-1].startswith("error: job it is still running (process ")
    assert (place / "runs" / "it" / "code").is_dir()  # the first still imports from there
    assert "loss" in (place / "runs" / "it" / "input" / "config" / "hyperparameters.json").read_text()
    first.ctrl_c()
    assert first.end() == 130
    assert (place / "runs" / "it" / "checkpoints" / "0").exists()


# -- The real trainer ----------------------------------------------------------------------------------------------


def test_a_real_run_stopped_and_resumed_ends_as_if_never_stopped(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    settings = SETTINGS | {"epochs": "6"}
    plain = run_plain(images, tmp_path / "plain", settings)
    changes = [word for key, text in settings.items() for word in ("--set", f"{key}={text}")]
    folders = ["--train", str(images / "train"), "--test", str(images / "test")]
    (tmp_path / "own.yaml").write_text("hyperparameters: {}\n")
    command = [*TRAIN, "own.yaml", "--local", "--job-name", "real", *folders, *changes]
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
def test_weights_are_a_channel(weights: str, tmp_path: Path) -> None:
    """A file that is no state_dict is refused by the trainer by the channel's path, which shows that it got there."""
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
