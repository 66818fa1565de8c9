"""A bundle that version 0.2.0 wrote is loaded, described and served as it was."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thorax.models import find_weights
from thorax.models.weights_file import read_weights
from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier
from thorax_launch import cli
from written_bundles import network, write

ARCHIVE = Path(__file__).resolve().parents[1] / "fixtures" / "bundle-0.2.0.tar.xz"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked fixture: bundle/ and expected.json."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def expected(old: Path) -> Any:
    return json.loads((old / "expected.json").read_text())


def test_it_answers_as_it_did(old, expected, images):
    classifier = Classifier.load(old / "bundle", precision="float32")
    p = classifier.predict([images / name for name in expected["images"]])
    np.testing.assert_allclose(p, expected["probabilities"], atol=1e-6)
    assert np.ptp(p) > 5e-5  # the images differ
    assert classifier.version == expected["version"]


def test_its_weights_start_a_run(old):
    """Its model.pt is found, with the labels that bundle.json names."""
    found = read_weights(find_weights(old / "bundle"))
    assert (found.file.name, found.labels) == ("model.pt", ("PNEUMONIA",))


def test_it_is_verified_sealed_and_replaced(old, tmp_path, capsys):
    own = shutil.copytree(old / "bundle", tmp_path / "model")
    assert cli.main(["verify", str(own), "--seal"]) == 0
    assert Bundle.load(own).files["model.pt"]
    (own / "model.pt").write_bytes(b"PK")
    assert cli.main(["verify", str(own)]) == 1
    assert "model.pt is damaged" in capsys.readouterr().out
    write(own, network(1))
    assert (own / "model.safetensors").exists() and not (own / "model.pt").exists()
    assert Classifier.load(own).predict([np.zeros((32, 40), np.uint8)]).shape == (1, 1)


def test_it_would_be_written_as_it_was(old):
    """The same bytes, with every key in its place."""
    bundle = Bundle.load(old / "bundle")
    assert json.dumps(bundle.to_dict(), indent=1) == (old / "bundle" / "bundle.json").read_text()
    assert bundle.preprocessing.normalization == "image"
    assert (bundle.labels, bundle.versions["thorax"]) == (("PNEUMONIA",), "0.2.0")
