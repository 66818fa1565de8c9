"""thorax runs, thorax open, and a leaderboard on any terminal: what was run, how good it was, where it lies."""

from __future__ import annotations

import io
import json
import os
import webbrowser
from pathlib import Path

import pytest
from rich.console import Console

from thorax_launch.cli import open as open_command
from thorax_launch.cli import runs
from thorax_launch.local.runs import all_runs
from thorax_launch.trials import Leaderboard, Trial


def job(folder: Path, *, auc: float | None = None, failed: bool = False, recipe: str = "", began: int = 0) -> None:
    """The folder of a local job; with an AUC it is finished."""
    for part in ("input/config", "model", "output/data", "checkpoints"):
        (folder / part).mkdir(parents=True)
    file = folder / "input/config/hyperparameters.json"
    file.write_text("{}")
    os.utime(file, (1_700_000_000 + began, 1_700_000_000 + began))
    if recipe:
        (folder / "input/recipe").write_text(f"{recipe}\n")
    if failed:
        (folder / "output/failure").write_text("no memory\n")
    if auc is not None:
        (folder / "model/bundle.json").write_text("{}")
        (folder / "output/data/report.html").write_text("<html>")
        metrics = folder / "output/data/metrics.json"
        metrics.write_text(json.dumps({"test": {"macro": {"auc": {"value": auc}}}}))
        os.utime(metrics, (1_700_000_000 + began + 90, 1_700_000_000 + began + 90))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    job(tmp_path / "runs/good", auc=0.912, recipe="demo", began=30)
    job(tmp_path / "runs/pneumonia-cnn-261127-101500", began=20)
    job(tmp_path / "runs/bad", failed=True, recipe="demo", began=10)
    job(tmp_path / "runs/sweep/trial-000", auc=0.8, recipe="demo", began=0)
    (tmp_path / "runs/sweep/study.db").touch()
    (tmp_path / "runs/sweep/leaderboard.png").touch()
    (tmp_path / "runs/synthetic/folders").mkdir(parents=True)
    return tmp_path


def test_all_runs_the_newest_first(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = all_runs(Path("runs"))
    assert [(run.name, run.recipe, run.status, run.minutes, run.auc) for run in found] == [
        ("good", "demo", "finished", 1.5, 0.912),
        ("pneumonia-cnn-261127-101500", "pneumonia-cnn", "stopped", None, None),
        ("bad", "demo", "failed", None, None),
        ("sweep/trial-000", "demo", "finished", 1.5, 0.8),
    ]
    assert runs.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    good = next(line for line in lines if "│ good" in line)
    assert all(text in good for text in ("finished", "1.5", "0.912 test", "runs/good/model"))
    assert lines[-1] == "4 runs in runs; `thorax open JOB` shows the report of one"
    assert runs.main(["--json"]) == 0
    assert next(row["name"] for row in json.loads(capsys.readouterr().out)) == "good"


def test_a_report_is_opened_by_name_path_or_bundle(here: Path, monkeypatch, capsys) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    for name in ("good", "runs/good", "runs/good/model"):
        assert open_command.main([name]) == 0
    assert opened == [(here / "runs/good/output/data/report.html").as_uri()] * 3
    assert open_command.main(["sweep", "--print"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "runs/sweep/leaderboard.png" and len(opened) == 3
    for name, message in (
        ("goood", "did you mean good?"),
        ("bad", "has no report: the job failed: no memory"),
        ("zzz", "`thorax runs` lists"),
        ("trial-000", "did you mean sweep/trial-000?"),
    ):
        assert open_command.main([name]) == 1
        assert message in capsys.readouterr().err


def test_no_runs_yet(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert runs.main([]) == 0  # the first command of somebody new
    assert capsys.readouterr().out == "no runs in runs yet; `thorax train demo --local` makes one\n"
    assert runs.main(["--json"]) == 0 and json.loads(capsys.readouterr().out) == []
    assert runs.main(["--runs", "nowhere"]) == 1
    assert "--runs nowhere is not a folder" in capsys.readouterr().err


def test_a_name_that_two_searches_have_names_both(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for search in ("a", "b"):
        job(tmp_path / f"runs/{search}/trial-000", auc=0.8)
        (tmp_path / f"runs/{search}/study.db").touch()
    assert open_command.main(["trial-000"]) == 1
    assert "did you mean a/trial-000 or b/trial-000?" in capsys.readouterr().err
    assert open_command.main(["a"]) == 1
    assert "runs/a has no report: no job of the search has come to its end" in capsys.readouterr().err


def board(jobs: int = 12) -> Leaderboard:
    """A search in which the rate matters and the batch size does not."""
    trials = [
        Trial(
            f"trial-{k:03d}",
            "Completed",
            0.9 - abs(k - 5) / 100,
            {"learning_rate": f"{10 ** (k / 3 - 5):.8f}", "batch_size": str(16 * (1 + k % 2)), "optimizer": "adamw"},
            seconds=60.0,
        )
        for k in range(jobs)
    ]
    return Leaderboard(
        "sweep", "validation:auc", True, tuple(trials), ("thorax", "train", "demo"), bundles="runs/sweep"
    )


def test_importance_names_what_mattered() -> None:
    found = board().importance()
    assert [*found] == ["learning_rate", "batch_size"]  # the optimizer was always the same
    assert found["learning_rate"] > 0.8 and sum(found.values()) == pytest.approx(1)
    assert board(7).importance() == {}  # so few tell nothing


@pytest.mark.filterwarnings("error")
def test_a_search_of_one_job_has_a_table_and_a_plot(tmp_path: Path, capsys) -> None:
    board(1).print()
    assert "sweep: 1 job, 1 done" in capsys.readouterr().out
    board(1).write_plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("width", [120, 80, 50, 30])
def test_no_word_of_a_leaderboard_is_broken(width: int, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    out = io.StringIO()
    monkeypatch.setattr(
        "rich.console.Console", lambda **given: Console(file=out, force_terminal=True, width=width, color_system=None)
    )
    board().print()
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= max(width, 45)
    for word in ("trial-005", "0.900000"):
        assert any(word in line for line in lines), word
    assert "its bundle: runs/sweep/trial-005/model\n" in capsys.readouterr().out
