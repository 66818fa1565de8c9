"""What version 0.2.0 wrote is read as it was meant: its bundle serves, its checkpoint is gone on from."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import clean_environment, command
from runs import history
from thorax.serving.classifier import Classifier

ARCHIVE = Path(__file__).resolve().parents[1] / "fixtures" / "bundle-0.2.0.tar.xz"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked files of version 0.2.0: bundle/, checkpoints/, w.pt, and expected.json with what must come out."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def expected(old: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((old / "expected.json").read_text())
    return stored


def test_an_old_bundle_gives_the_probabilities_that_it_gave(images, old, expected):
    classifier = Classifier.load(old / "bundle", threads=1, precision="float32")
    probabilities = classifier.predict([images / name for name in expected["images"]])
    np.testing.assert_allclose(probabilities, expected["probabilities"], rtol=0, atol=1e-6)


def test_an_old_checkpoint_is_gone_on_from(images, old, expected, tmp_path):
    shutil.copy(old / "w.pt", tmp_path)
    shutil.copytree(old / "checkpoints", tmp_path / "model-job" / "checkpoints")
    words = command(images, tmp_path / "model", **expected["options"])
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=240, cwd=tmp_path, env=clean_environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert "resumed from a checkpoint at epoch 2" in done.stdout
    assert "pixels: by the rules 1 (preprocessing.grey) that the checkpoint's run began with" in done.stdout
    assert "grey" not in json.loads((tmp_path / "model" / "bundle.json").read_text())["preprocessing"]
    head, *rows = history(tmp_path / "model")
    old_head, *old_rows = expected["history"]
    assert head == f"{old_head},train_accuracy,train_auc"  # which the old epochs lack
    rows = [row.rsplit(",", 2)[0] for row in rows]
    values, old_values = ([[float(cell) for cell in row.split(",")] for row in table] for table in (rows, old_rows))
    np.testing.assert_allclose(values, old_values, rtol=0, atol=1e-6)
