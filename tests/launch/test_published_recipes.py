"""The set-ups of papers as recipes: an epoch each on a few made-up images, and what they are held against."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import published
import thorax
from conftest import ROOT
from thorax.serving.bundle import Bundle
from thorax_launch import Recipe
from thorax_launch.synthetic.radiographs import write_table

TINY = {
    "epochs": 1,
    "image_shape": "3,32,32",
    "bootstrap_samples": 0,
    "num_workers": 0,
    "threads": 1,
    "precision_dtype": "float32",
    "threshold_views": 0,
}


def test_chexnet(tmp_path: Path) -> None:
    write_table(tmp_path / "set", images=60)
    recipe = Recipe.load("chestxray14-densenet121").merged({**TINY, "resize": 32, "max_class_weight": 30})
    done = thorax.train(recipe, train=tmp_path / "set/train", test=tmp_path / "set/test", output=tmp_path / "out")
    bundle = Bundle.load(done.bundle)
    assert (bundle.network, bundle.preprocessing.channels, bundle.space.task) == ("densenet121", 3, "multilabel")
    assert done.history[0]["learning_rate"] == pytest.approx(0.001) and "test" in done.metrics


def test_chexpert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = published.chexpert(tmp_path / "set")
    labels = given.get("labels", "Atelectasis,Edema")
    recipe = Recipe.load("chexpert-densenet121").merged({**TINY, "labels": labels, "uncertain": "ignore,Edema:one"})
    done = thorax.train(recipe, train=tmp_path / "set", output=tmp_path / "out")
    assert Bundle.load(done.bundle).network == "densenet121"
    assert "Edema" in capsys.readouterr().out


def test_the_table_of_chexnet_has_fourteen_findings_and_their_mean() -> None:
    page = (ROOT / "docs/published-recipes.md").read_text()
    cells = re.findall(r"([A-Z][A-Za-z ]+) \| (0\.\d{4})", page)
    assert len(cells) == 14
    mean = np.mean([float(value) for _, value in cells])
    assert f"| **mean** | **{mean:.4f}** |" in page
    assert "0.841" in Recipe.load("chestxray14-densenet121").expected["test_auc"]
