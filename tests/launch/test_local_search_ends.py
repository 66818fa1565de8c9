"""A search on this machine that ends before its last job, by the rules that AWS has for its own."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from local_search import RECIPE, FakeToolkit, rows, search
from thorax_launch.cli import leaderboard
from thorax_launch.local.completion import end_reason, not_improving
from thorax_launch.local.runs import all_runs
from thorax_launch.ranges import Range, Tune

pytest.importorskip("optuna", reason="needs optuna: pip install -e '.[tune]'")

Capture = pytest.CaptureFixture[str]


def aucs(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """What the jobs come to, one after the other."""
    waiting = list(values)

    def log(_: dict[str, str]) -> list[str]:
        return [f"best epoch 4/4: validation_loss=0.250000; validation_auc={waiting.pop(0):.6f}"]

    monkeypatch.setattr(FakeToolkit, "log", log)


def test_it_ends_at_its_target(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    aucs(monkeypatch, 0.7, 0.91, 0.8, 0.99)
    assert search("--target", "0.9") == 0
    assert len(rows()) == 2
    assert {run.recipe for run in all_runs(Path("runs"))} == {"own"}  # not the search's name
    assert "the search ends: the target 0.9 is reached (0.9100); it goes on with the same command" in (
        capsys.readouterr().out
    )
    assert search("--target", "0.95") == 0  # the same search, with another limit
    assert sorted(float(row["validation:auc"]) for row in rows()) == [0.7, 0.8, 0.91, 0.99]


def test_it_ends_when_nothing_improves(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    aucs(monkeypatch, 0.80, 0.805, 0.70, 0.9, 0.95)
    assert search("--not-improving", "2") == 0
    assert len(rows()) == 3
    assert "the last 2 jobs made the best not better by 1 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "maximize", "expected"),
    [
        ([], True, 0),
        ([0.5], True, 0),
        ([0.5, 0.504, 0.508], True, 2),  # each is less than 1 % above the best before it
        ([0.5, 0.504, 0.52], True, 0),
        ([0.5, 0.6, 0.4, 0.3], True, 2),
        ([1.0, 0.995, 0.98], False, 0),
        ([1.0, 0.995], False, 1),
        ([0.0, 0.0], True, 1),
    ],
)
def test_one_percent_counts(values: list[float], maximize: bool, expected: int) -> None:
    assert not_improving(values, maximize) == expected


def test_a_loss_is_reached_from_above() -> None:
    tune = Tune({"lr": Range("continuous", 0.1, 1.0)}, target=0.3)
    assert end_reason(tune, [0.5, 0.31], False, 0.0) == ""
    assert "the target 0.3 is reached" in end_reason(tune, [0.5, 0.3], False, 0.0)


class Slow(FakeToolkit):
    """A job that prints one epoch and then nothing more until it is stopped."""

    def lines(self):
        import time

        yield "epoch 1/4: train_loss=0.5; validation_auc=0.600000"
        for _ in range(1000):
            if self.stopped:
                return
            time.sleep(0.01)
        raise AssertionError("nobody stopped it")


def test_its_time_stops_the_running_job(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax_launch.local.searches.Toolkit", Slow)
    assert search("--total-hours", "0.00003") == 1
    shown = capsys.readouterr()
    assert "its time is over (3e-05 h); its unfinished job goes on from its checkpoint" in shown.out
    assert shown.err.startswith("error: no job of search it came to its end within its time; the same command")
    (row,) = rows()
    assert (row["job"], row["status"]) == ("trial-000", "InProgress")
    assert Path("runs/it/trial-000/checkpoints/checkpoint-1.pt").exists()
    monkeypatch.setattr("thorax_launch.local.searches.Toolkit", FakeToolkit)
    assert search("--total-hours", "1", "--max-jobs", "1") == 0
    (row,) = rows()
    assert (row["job"], row["status"]) == ("trial-000", "Completed")


def test_what_is_awss_alone(here: Path, capsys: Capture) -> None:
    assert search("--until-converged") == 1
    assert "--until-converged is for AWS" in capsys.readouterr().err
    assert search("--autotune") == 1
    assert "--autotune is for AWS" in capsys.readouterr().err
    recipe = RECIPE.replace("max_jobs: 5", "max_jobs: 1\n  until_converged: true")
    (here / "own.yaml").write_text(recipe)
    assert search() == 0
    assert "note: until_converged of the recipe's tune: part" in capsys.readouterr().out
    auto = recipe.replace("{min: 0.0001, max: 0.1, scale: log}", "{auto: 0.001}")
    (here / "own.yaml").write_text(auto.replace("max_jobs: 1", "max_jobs: 1\n  autotune: true"))
    assert search() == 1
    assert "tune.ranges.lr is {auto: ...}, which AWS's Autotune chooses" in capsys.readouterr().err


def test_further_metrics(here: Path, capsys: Capture) -> None:
    assert search("--max-jobs", "2") == 0
    assert leaderboard.main(["it", "--local", "--metrics", "loss,f1", "--csv", "board.csv"]) == 0
    with Path("board.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [(row["validation:loss"], row["validation:f1"]) for row in found] == [("0.300000", "")] * 2
