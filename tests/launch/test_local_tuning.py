"""A search on this machine: what it tries, how it ends, that a killed one goes on, and what it leaves."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT, TINY
from local_search import RECIPE, FakeToolkit, good, rows, search
from thorax.errors import ThoraxError
from thorax_launch import local, trials
from thorax_launch.cli import leaderboard, tune

pytest.importorskip("optuna", reason="needs optuna: pip install -e '.[tune]'")

WRITE_PLOT = trials.Leaderboard.write_plot
Capture = pytest.CaptureFixture[str]


def test_a_search_and_its_leaderboard(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.trials.Leaderboard.write_plot", WRITE_PLOT)
    assert search("--set", "seed=7") == 0
    found = rows()
    assert len(found) == 5
    values = [float(row["validation:auc"]) for row in found]
    assert values == sorted(values, reverse=True)
    for row in found:
        assert 0.0001 <= float(row["lr"]) <= 0.1
        assert row["batch_size"] in ("32", "64", "128")
        assert 0 <= float(row["warmup_epochs"]) <= 0.5
        assert row["early_stopping_patience"] in "1234"
        assert "e" not in row["lr"]
        job = json.loads(Path("runs/it", row["job"], "input/config/hyperparameters.json").read_text())
        assert [json.loads(job[key]) for key in ("lr", "batch_size", "seed", "network")] == [
            row["lr"],
            row["batch_size"],
            "7",
            "cnn5",
        ]
        assert not Path("runs/it", row["job"], "checkpoints").exists()
    out = capsys.readouterr().out
    assert "trial-000: epoch 1: validation:auc 0." in out
    best = " ".join(
        f"--set {key}={found[0][key]}" for key in ("lr", "batch_size", "warmup_epochs", "early_stopping_patience")
    )
    assert f"to train it again: thorax train own.yaml --local --train images --set seed=7 {best}\n" in out
    assert Path("runs/it/leaderboard.png").read_bytes()[:4] == b"\x89PNG"
    # the same table from what is stored
    assert leaderboard.main(["it", "--local", "--csv", "runs"]) == 1
    assert leaderboard.main(["it", "--local", "--csv", "new/again.csv"]) == 0
    assert Path("new/again.csv").read_text() == Path("runs/it/leaderboard.csv").read_text()
    assert f"best: {found[0]['job']}, validation:auc {found[0]['validation:auc']}" in capsys.readouterr().out


def test_a_search_can_be_made_longer(here: Path, capsys: Capture) -> None:
    assert search("--max-jobs", "2") == 0
    before = {row["job"]: row["lr"] for row in rows()}
    assert search("--max-jobs", "4") == 0
    after = {row["job"]: row["lr"] for row in rows()}
    assert before.items() <= after.items()
    assert len(after) == len(set(after.values())) == 4  # it does not begin again with what it tried


def test_the_same_seed_tries_the_same(here: Path, capsys: Capture) -> None:
    assert search("--strategy", "random") == 0
    first = [row["lr"] for row in rows()]
    assert tune.main(["own.yaml", "--local", "--train", "images", "--job-name", "other", "--strategy", "random"]) == 0
    with Path("runs/other/leaderboard.csv").open() as file:
        assert [row["lr"] for row in csv.DictReader(file)] == first


@pytest.mark.parametrize("words", [("--early-stopping",), ("--strategy", "hyperband")])
def test_hopeless_jobs_are_stopped_early(
    words: tuple[str, ...], here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    FakeToolkit.stopped_jobs.clear()

    def worse_and_worse(values: dict[str, str]) -> list[str]:
        calls.append(1)
        value = 0.95 - 0.04 * len(calls)
        return [f"epoch {i}/4: validation_auc={value:.6f}" for i in range(1, 5)] + [
            f"best epoch 4/4: validation_auc={value:.6f}"
        ]

    monkeypatch.setattr(FakeToolkit, "log", worse_and_worse)
    assert search("--max-jobs", "8", *words) == 0
    stopped = {row["job"] for row in rows() if row["status"] == "Stopped"}
    assert stopped
    assert stopped == set(FakeToolkit.stopped_jobs)
    assert rows()[0]["status"] == "Completed"
    assert ": stopped early" in capsys.readouterr().out


def test_a_grid_ends_when_all_is_tried(here: Path, capsys: Capture) -> None:
    Path("own.yaml").write_text(
        "hyperparameters: {network: cnn5, lr: 0.01}\ntune: {strategy: grid, max_jobs: 50, ranges: {batch_size:"
        " {choices: [8, 16]}, seed: {choices: [1, 2]}}}\n"
    )
    assert search() == 0
    assert sorted((row["batch_size"], row["seed"]) for row in rows()) == [
        ("16", "1"),
        ("16", "2"),
        ("8", "1"),
        ("8", "2"),
    ]


def test_a_failed_job_does_not_end_the_search(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def sometimes(values: dict[str, str]) -> list[str]:
        return good(values) if values["batch_size"] != "32" else ["error: out of memory"]

    monkeypatch.setattr(FakeToolkit, "log", sometimes)
    assert search("--max-jobs", "6") == 0
    found = rows()
    assert len(found) == 6
    assert {row["status"] for row in found if row["batch_size"] == "32"} == {"Failed"}
    assert {row["status"] for row in found if row["batch_size"] != "32"} == {"Completed"}


def test_when_every_job_fails_the_search_does(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeToolkit, "log", lambda values: [])
    assert search("--max-jobs", "2") == 1
    assert capsys.readouterr().err == "error: none of the 2 jobs has a value; see runs/it/*/output/train.log\n"


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (("max: 0.1,", "max: 0.2,"), (), "lr 0.0001 to 0.1 log (now 0.0001 to 0.2 log)"),
        (("network: cnn5", "network: cnn5, objective: f1"), (), "objective not given (now f1)"),
        (("", ""), ("--set", "image_shape=1,64,64"), "image_shape not given (now 1,64,64)"),
        (("", ""), ("--train", "other"), "--train {0}/images (now {0}/other)"),
        (("", ""), ("--test", "other"), "--test not given (now {0}/other)"),
        (("", ""), ("--strategy", "random"), "strategy bayesian (now random)"),
    ],
)
def test_another_search_of_that_name_is_left_alone(
    change: tuple[str, str], words: tuple[str, ...], message: str, here: Path, capsys: Capture
) -> None:
    Path("other").mkdir()
    assert search("--max-jobs", "1") == 0
    before = rows()
    Path("own.yaml").write_text(RECIPE.replace(*change))
    assert search("--max-jobs", "2", *words) == 1
    message = f"that search has {message.format(here.resolve())}; give the same again, or choose another name"
    assert capsys.readouterr().err == f"error: --job-name it: {message}\n"
    assert rows() == before
    Path("own.yaml").write_text(RECIPE)
    assert search("--max-jobs", "2") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--train", "nope"), "--train nope does not exist"),
        (("--test", "nope"), "--test nope does not exist"),
        (("--plot", "own.yaml/p.png"), "--plot own.yaml/p.png: its folder cannot be made: "),
        (("--plot", "images"), "--plot images is a folder; name a file, such as images/NAME"),
        (("--runs", "own.yaml"), "--runs: "),
    ],
)
def test_what_cannot_be_searched_is_refused_before_there_is_a_search(
    words: tuple[str, ...], message: str, here: Path, capsys: Capture
) -> None:
    assert search(*words) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert shown.err.startswith(f"error: {message}")
    assert not Path("runs").exists()


def test_a_search_is_not_run_twice_at_once(here: Path, capsys: Capture) -> None:
    Path("runs/it").mkdir(parents=True)
    held = os.open("runs/it", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)  # as another process would
    assert search("--max-jobs", "1") == 1
    os.close(held)
    assert capsys.readouterr().err == "error: search it is running already; wait for it or choose another --job-name\n"
    assert not list(Path("runs/it").iterdir())
    assert search("--max-jobs", "1") == 0


@pytest.mark.parametrize("wrong", ["seed: abc", "seed: -1", "seed: true", "seed: 2147483648", "early_stopping: 1"])
def test_a_wrong_tune_part_is_one_line(wrong: str, here: Path, capsys: Capture) -> None:
    Path("own.yaml").write_text(RECIPE.replace("max_jobs: 5", wrong))
    assert search() == 1
    name = wrong.partition(":")[0]
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: recipe own.yaml: {name}=")
    assert shown.count("\n") == 1
    assert not Path("runs").exists()


def test_ctrl_c_leaves_the_job_to_be_resumed(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert search("--max-jobs", "2") == 0

    def interrupted(values: dict[str, str]):
        yield "epoch 1/4: validation_auc=0.500000"
        signal.raise_signal(signal.SIGINT)
        while not FakeToolkit.stopped_jobs:
            time.sleep(0.01)
        yield "stopped"

    FakeToolkit.stopped_jobs.clear()
    monkeypatch.setattr(FakeToolkit, "log", interrupted)
    assert search("--max-jobs", "4") == 130
    assert (
        "search it is stopped after 2 of 4 jobs; to go on: the same command with --job-name it"
        in capsys.readouterr().out
    )
    stopped = next(row for row in rows() if row["status"] == "InProgress")
    monkeypatch.setattr(FakeToolkit, "log", good)
    assert search("--max-jobs", "4") == 0
    found = rows()
    assert [row["job"] for row in found].count(stopped["job"]) == 1
    again = next(row for row in found if row["job"] == stopped["job"])
    assert {key: again[key] for key in ("lr", "batch_size", "status")} == {
        "lr": stopped["lr"],
        "batch_size": stopped["batch_size"],
        "status": "Completed",
    }
    assert len(found) == 4


def test_a_search_is_a_handle(here: Path, capsys: Capture) -> None:
    with local.tune("own.yaml", {"train": "images"}, hyperparameters={"seed": 7}, job_name="it", max_jobs=3) as search:
        assert search.wait(quiet=True) == 0
        assert search.wait() == 0  # a second time, at once
    assert (search.name, search.running, search.done, search.total) == ("it", False, 3, 3)
    board = search.leaderboard()
    assert search.best == board.ranked[0]
    assert search.bundle(board.ranked[0]) == here / "runs" / "it" / board.ranked[0].name / "model"
    assert board.best_command().startswith("thorax train own.yaml --local --train images --set seed=7 --set lr=0.0")
    assert capsys.readouterr().out == ""


def test_a_search_is_stopped_at_the_end_of_the_block(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeToolkit.stopped_jobs.clear()

    def endless(values: dict[str, str]):
        yield "epoch 1/4: validation_auc=0.500000"
        while not FakeToolkit.stopped_jobs:
            time.sleep(0.01)

    monkeypatch.setattr(FakeToolkit, "log", endless)
    with local.tune("own.yaml", {"train": "images"}, job_name="it", max_jobs=2) as search:
        with pytest.raises(ThoraxError, match="search it is running already"):
            local.tune("own.yaml", {"train": "images"}, job_name="it")
        while not search.leaderboard().trials:
            time.sleep(0.01)
    assert (search.running, search.done, search.wait()) == (False, 0, 130)
    assert search.best is None  # no job has come to its end


@pytest.mark.parametrize("name", ["my_recipe", "a.b c", "x" * 100, "\N{LATIN SMALL LETTER A WITH DIAERESIS}", "-a-"])
def test_any_recipe_file_names_a_search(name: str, here: Path, capsys: Capture) -> None:
    Path(f"{name}.yaml").write_text(RECIPE)
    assert tune.main([f"./{name}.yaml", "--local", "--train", "images", "--max-jobs", "1"]) == 0, (
        capsys.readouterr().err
    )
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch("(my-recipe|a-b-c|x{42}|thorax|a)-[0-9]{6}-[0-9]{6}-tuning", folder.name), folder.name


def test_no_search_of_that_name(here: Path, capsys: Capture) -> None:
    assert leaderboard.main(["nothing", "--local"]) == 1
    assert capsys.readouterr().err.startswith("error: no search nothing on this machine: ")


# -- Real processes ----------------------------------------------------------------------------------------------------

SCRIPT = """
import os, sys, time
base = os.environ["SAGEMAKER_BASE_DIR"]
resumed = os.path.exists(base + "/checkpoints/saved")
open(base + "/checkpoints/saved", "w").close()
print("epoch 1/2: validation_auc=0.700000", flush=True)
if not resumed and not base.endswith("trial-000"):
    time.sleep(300)
print("best epoch 2/2: validation_auc=0.800000", flush=True)
open(base + "/model/resumed-" + str(resumed), "w").close()
"""
DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, {launch!r})
from thorax_launch.cli.local_jobs import run_search
from thorax_launch import local, paths
paths.source_dir = lambda: Path("source")
sys.exit(run_search(local.tune("own.yaml", {{"train": "images"}}, job_name="it", max_jobs=2), None))
"""


def test_a_killed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "own.yaml").write_text(RECIPE)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "train_model.py").write_text(SCRIPT)
    (tmp_path / "driver.py").write_text(DRIVER.format(launch=str(ROOT / "launch")))
    command = [sys.executable, "driver.py"]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert first.stdout
    end = time.monotonic() + 200
    lines = []
    for line in first.stdout:
        lines.append(line)
        if line.startswith("trial-001: epoch 1"):
            break
        assert time.monotonic() < end
    assert lines[-1].startswith("trial-001: epoch 1"), lines
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    tried = json.loads((tmp_path / "runs/it/trial-001/input/config/hyperparameters.json").read_text())["lr"]
    while (tmp_path / "runs/it/trial-001").exists() and _running(
        str(tmp_path)
    ):  # the guard is putting an end to the job
        time.sleep(0.1)
        assert time.monotonic() < end
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "best: " in done.stdout
    assert sorted(path.name for path in (tmp_path / "runs/it").glob("trial-*")) == ["trial-000", "trial-001"]
    assert (tmp_path / "runs/it/trial-001/model/resumed-True").exists()
    assert json.loads((tmp_path / "runs/it/trial-001/input/config/hyperparameters.json").read_text())["lr"] == tried


def _running(text: str) -> bool:
    from contract.tiny import processes_naming

    return any(True for _ in processes_naming(text))


@pytest.mark.slow
def test_a_real_search(images: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "tune: {max_jobs: 2, ranges: {lr: {min: 0.0001, max: 0.1, scale: log}, batch_size: {choices: [8, 16]}}}\n"
    )
    settings = [word for key, value in TINY.items() if key != "batch_size" for word in ("--set", f"{key}={value}")]
    words = [
        "own.yaml",
        "--local",
        "--train",
        str(images / "train"),
        "--test",
        str(images / "test"),
        "--job-name",
        "it",
        *settings,
    ]
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch" / "tune.py"), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(
        (tmp_path / "runs" / "it" / job / "model" / "bundle.json").is_file() for job in ("trial-000", "trial-001")
    )
