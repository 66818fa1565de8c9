"""launch/train.py: what it refuses, what it lays out, and that nothing is lost or left running when it is stopped."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.launching import SCRIPT, launch, place_of, start, until
from contract.tiny import processes_naming


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with images and stand-in code; afterwards nothing that was started in it may be alive."""
    yield from place_of(tmp_path)


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
        (["demo", "--set", "epochz="], "unknown hyperparameter epochz; did you mean epochs?"),
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


@pytest.mark.parametrize(("processes", "who"), [(1, "the training process"), (2, "rank 1")])
def test_the_last_line_says_who_was_killed(processes: int, who: str, place: Path) -> None:
    run = start(place, "objective=accuracy", "seed=9", processes=processes)
    assert run.end() == 1
    assert run.lines[-1].startswith(
        f"error: {who} was ended by SIGKILL: memory has most likely run out: lower batch_size"
    )


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
