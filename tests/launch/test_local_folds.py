"""`thorax train --local --folds`: what it trains, leaves and refuses, and that a stopped one goes on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from conftest import TINY, write_images
from inside import InsideToolkit
from thorax.serving.bundle import Bundle
from thorax_launch.cli import train

RECIPE = {key: value for key, value in {**TINY, "epochs": "1", "threshold_views": "0"}.items() if key != "seed"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("thorax_launch.local.jobs.Toolkit", InsideToolkit)
    InsideToolkit.ran.clear()
    InsideToolkit.interrupted.clear()
    lines = "".join(f"  {key}: {value}\n" for key, value in RECIPE.items())
    (tmp_path / "own.yaml").write_text(f"hyperparameters:\n{lines}")
    write_images(tmp_path / "images/train", 8, seed=1)
    write_images(tmp_path / "images/test", 4, seed=2)
    return tmp_path


def folds(*words: str, images: str = "images/train") -> int:
    return train.main(["own.yaml", "--local", "--train", images, "--folds", "2", "--job-name", "cv", *words])


def test_a_stopped_one_goes_on_and_ends_with_the_refit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    InsideToolkit.interrupted.add("fold-1")
    assert folds("--test", "images/test", "--refit") == 130
    assert InsideToolkit.ran == ["fold-0"]
    assert "cross-validation cv is stopped; to go on: thorax train own.yaml" in capsys.readouterr().out
    InsideToolkit.interrupted.clear()
    first = Path("runs/cv/fold-0/model/model.safetensors").stat().st_mtime_ns
    assert folds("--test", "images/test", "--refit") == 0
    assert InsideToolkit.ran == ["fold-0", "fold-1", "refit"]
    out = capsys.readouterr().out
    assert "fold-0 is done already" in out and "out-of-fold: 16 images of 16 patients in 2 folds" in out
    assert "a refit takes 1 epoch" in out and "bundle   runs/cv/refit/model" in out
    assert Path("runs/cv/fold-0/model/model.safetensors").stat().st_mtime_ns == first
    with Path("runs/cv/out-of-fold/out_of_fold.csv").open() as file:
        assert sorted(row["id"] for row in csv.DictReader(file)) == sorted(
            f"{path.parent.name}/{path.name}" for path in Path("images/train").rglob("*.png")
        )
    refit = Bundle.load("runs/cv/refit/model")
    assert refit.split["out_of_fold"]["folds"] == 2 and refit.metrics["test"]["n"] == 8
    assert "folds" not in json.loads(Path("runs/cv/refit/input/config/hyperparameters.json").read_text())
    # once more: nothing is trained again
    assert folds("--test", "images/test", "--refit") == 0
    assert InsideToolkit.ran == ["fold-0", "fold-1", "refit"]
    assert "refit is done already" in capsys.readouterr().out

    for words, named in (
        (("--set", "epochs=2"), "has begun with epochs=1, now 2"),
        (("--folds", "3"), "has begun with folds=2, now 3"),
    ):
        assert folds("--test", "images/test", *words) == 1
        assert named in capsys.readouterr().err
    write_images(here / "other", 8, seed=3)
    assert folds("--test", "images/test", images="other") == 1
    assert "--train=" in capsys.readouterr().err
    assert InsideToolkit.ran == ["fold-0", "fold-1", "refit"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--folds", "1"], "--folds 1 must be 2 to 100"),
        (["--set", "fold=1", "--set", "folds=3"], "--set folds=3 with --folds 2: --folds sets it"),
        (["--validation", "images/test"], "--validation with --folds 2"),
    ],
)
def test_what_is_refused_before_anything_is_trained(here: Path, capsys, words: list[str], named: str) -> None:
    assert folds(*words) == 1
    assert named in capsys.readouterr().err
    assert not InsideToolkit.ran and not (here / "runs/cv").exists()


def test_a_fold_that_fails_says_why(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(here / "few", 1, seed=3)
    assert folds(images="few") == 1
    assert "fold-0: folds=2 but train has images of class NORMAL of 1 patient only; add some" in capsys.readouterr().err


def test_a_refit_alone_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main(["demo", "--local", "--refit"])
    assert "give --folds K too" in capsys.readouterr().err
