"""Calibration as it is stored, read back, applied by a classifier and undone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import images
from thorax.data.images import Preprocessing
from thorax.errors import ThoraxError
from thorax.evaluation.calibration import Calibration, reliability
from thorax.labels import LabelSpace
from thorax.models import build
from thorax.serving.bundle import Bundle
from thorax.serving.bundle_contents import BundleContents
from thorax.serving.bundle_writer import write_bundle
from thorax.serving.classifier import Classifier

SOURCE_DIR = Path(__file__).resolve().parents[2] / "source_dir"
THREE = LabelSpace(("bacterial", "normal", "viral"), "multiclass")


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_what_calibration_did_can_be_undone_to_show_it(task):
    z = np.random.default_rng(0).normal(0, 2, (30, 3))
    temperatures = np.array([1.7, 1.7, 1.7] if task == "multiclass" else [0.5, 1.0, 2.0])
    calibration = Calibration(temperatures, np.array([0.0, -0.5, 1.0]))
    plain = Calibration.none(3).probabilities(z, task)
    np.testing.assert_allclose(calibration.undone(calibration.probabilities(z, task), task), plain, atol=2e-5)


def test_reliability_by_hand():
    targets, p = np.array([[0.0], [1.0], [1.0], [np.nan], [0.0]]), np.array([[0.05], [0.1], [0.95], [0.5], [0.91]])
    assert reliability(targets, p) == [
        {"images": 2, "probability": pytest.approx(0.075), "positive": 0.5},
        {"images": 2, "probability": pytest.approx(0.93), "positive": 0.5},
    ]


@pytest.mark.parametrize(
    ("space", "calibration", "stored", "version"),
    [
        (images.BINARY, Calibration(np.full(1, 2.0), np.zeros(1)), {"PNEUMONIA": {"temperature": 2.0}}, 1),
        (
            images.BINARY,
            Calibration(np.full(1, 2.0), np.full(1, -1.5), ("platt",)),
            {"PNEUMONIA": {"temperature": 2.0, "bias": -1.5, "method": "platt"}},
            2,
        ),
        (
            THREE,
            Calibration(np.full(3, 2.0), np.zeros(3)),
            {"bacterial": {"temperature": 2.0}, "normal": {"temperature": 2.0}, "viral": {"temperature": 2.0}},
            1,
        ),
    ],
    ids=["binary", "platt", "multiclass"],
)
def test_a_bundle_keeps_it_and_its_classifier_applies_it(tmp_path, space, calibration, stored, version):
    torch.manual_seed(0)
    net = build("cnn5", 1, len(space.outputs), 0.0).eval()
    for name, more in (("plain", {}), ("calibrated", {"calibration": calibration.to_dict(space)})):
        contents = BundleContents(
            network="cnn5",
            space=space,
            preprocessing=Preprocessing(32, 32),
            thresholds=dict.fromkeys(space.outputs, 0.5),
            **more,
        )
        write_bundle(tmp_path / name, net, contents, "", SOURCE_DIR)
    described = json.loads((tmp_path / "calibrated" / "bundle.json").read_text())
    assert described["calibration"] == stored
    assert described["version"] == version  # a program that knows no bias must not answer without it
    paths = images.written(tmp_path, 3, (50, 60))
    plain, calibrated = (Classifier.load(tmp_path / name).predict(paths) for name in ("plain", "calibrated"))
    undone = Bundle.load(tmp_path / "calibrated").calibrator.undone(calibrated, space.task)
    np.testing.assert_allclose(undone, plain, atol=1e-5)
    assert np.abs(calibrated - plain).max() > 1e-3


def test_what_a_bundle_does_not_say_changes_nothing():
    space = LabelSpace(("Mass", "Nodule"), "multilabel")
    found = Calibration.from_dict({"Mass": {"temperature": 3}, "Nodule": {"bias": -1}}, space)
    assert (found.temperatures.tolist(), found.biases.tolist(), found.methods) == ([3, 1], [0, -1], ())
    assert not Calibration.from_dict({}, THREE).changes and found.changes


@pytest.mark.parametrize(
    "stored",
    [
        {"PNEUMONIA": {"temperature": 0}},
        {"PNEUMONIA": {"temperature": "hot"}},
        {"PNEUMONIA": 2},
        [7],
        {"PNEUMONIA": {"temperature": None}},
        {"PNEUMONIA": {"temperature": 1, "bias": "low"}},
        {"PNEUMONIA": {"bias": float("nan")}},
        {"PNEUMONIA": {"bias": float("inf")}},
    ],
)
def test_a_temperature_or_bias_that_cannot_be_damages_the_bundle(tmp_path, stored):
    description = {
        "version": 1,
        "network": {"name": "cnn5", "dropout": 0},
        "labels": images.BINARY.to_dict(),
        "preprocessing": Preprocessing(32, 32).to_dict(),
        "preprocessing_fingerprint": Preprocessing(32, 32).fingerprint(),
        "thresholds": {"PNEUMONIA": 0.5},
        "calibration": stored,
        "configuration": {},
        "split": {},
        "metrics": {},
        "versions": {},
    }
    (tmp_path / "bundle.json").write_text(json.dumps(description))
    with pytest.raises(ThoraxError, match=r"bundle\.json is damaged"):
        Bundle.load(tmp_path)


def test_a_server_needs_neither_scikit_learn_nor_scipy():
    program = (
        "import sys, thorax.serving.classifier; sys.exit(', '.join({'sklearn', 'scipy', 'matplotlib', 'jinja2'} &"
        " set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=SOURCE_DIR, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
