"""A bundle that version 0.2.0 wrote is loaded, described and served as it was."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier

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


def test_it_would_be_written_as_it_was(old):
    """The same bytes, with every key in its place."""
    bundle = Bundle.load(old / "bundle")
    assert json.dumps(bundle.to_dict(), indent=1) == (old / "bundle" / "bundle.json").read_text()
    assert bundle.preprocessing.normalization == "image"
    assert (bundle.labels, bundle.versions["thorax"]) == (("PNEUMONIA",), "0.2.0")
