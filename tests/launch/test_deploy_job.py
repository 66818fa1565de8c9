"""`thorax deploy --local --job NAME`: the best job of a search on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_search import rows, search
from thorax_launch.cli import deploy

pytest.importorskip("optuna", reason="needs optuna: pip install -e '.[tune]'")


def test_of_a_search_the_best_job_is_served(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search("--max-jobs", "3") == 0
    best = Path("runs/it", rows()[0]["job"], "model")
    capsys.readouterr()
    for name in ("it", "runs/it"):
        assert deploy.main(["--local", "--job", name]) == 1  # its jobs are made up: they left no bundle
        assert capsys.readouterr().err.startswith(f"error: {best}")


def test_a_search_without_a_value_has_no_best(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from local_search import FakeToolkit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeToolkit, "log", lambda values: ["reading images"], raising=False)
        search("--max-jobs", "1")
    capsys.readouterr()
    assert deploy.main(["--local", "--job", "it"]) == 1
    assert "--job it: no job of that search has come to a value yet" in capsys.readouterr().err
