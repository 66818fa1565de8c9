"""Temperatures: found where they are known, stored and read back, and applied by the classifier; no ranking changes."""

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
from thorax.evaluation.calibration import described, fit, probabilities, reliability, temperatures_of, uncalibrated
from thorax.evaluation.metrics import score
from thorax.labels import LabelSpace
from thorax.models import build
from thorax.serving.bundle import Bundle
from thorax.serving.bundle_contents import BundleContents
from thorax.serving.bundle_writer import write_bundle
from thorax.serving.classifier import Classifier

SOURCE_DIR = Path(__file__).resolve().parents[2] / "source_dir"
THREE = LabelSpace(("bacterial", "normal", "viral"), "multiclass")


def overconfident(images=4000, temperatures=(2.0, 0.5), seed=0):
    """Targets (N, L) drawn from sigmoid(z), and the logits z x temperature, which are too certain (or not enough)."""
    random = np.random.default_rng(seed)
    z = random.normal(0, 2, (images, len(temperatures)))
    targets = (random.random(z.shape) < 1 / (1 + np.exp(-z))).astype(np.float32)
    return targets, (z * temperatures).astype(np.float32)


def test_the_temperature_that_was_put_in_is_found_and_unknown_images_are_left_out():
    targets, z = overconfident()
    assert fit(targets, z, "multilabel") == pytest.approx([2.0, 0.5], rel=0.08)
    more = np.concatenate([targets, np.full((900, 2), np.nan)]), np.concatenate([z, np.full((900, 2), 9.0)])
    assert fit(*more, "multilabel") == pytest.approx(fit(targets, z, "multilabel"), rel=1e-6)
    unread = np.concatenate([targets, targets[:50]]), np.concatenate([z, np.full((50, 2), np.nan)])
    assert fit(*unread, "multilabel") == pytest.approx(fit(targets, z, "multilabel"), rel=1e-6)


def test_it_is_the_minimum_of_the_likelihood():
    targets, z = overconfident(300, (3.0,))
    (best,) = fit(targets, z, "binary")
    losses = [np.mean(np.logaddexp(0, z / t) - targets * z / t) for t in (best * 0.9, best, best * 1.1)]
    assert losses[1] < min(losses[0], losses[2])


def test_exclusive_classes_share_one():
    random = np.random.default_rng(2)
    z = random.normal(0, 2, (4000, 3))
    cumulated = np.cumsum(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), axis=1)
    targets = np.eye(3)[(random.random((4000, 1)) > cumulated).sum(axis=1)]
    assert fit(targets, 2.5 * z, "multiclass") == pytest.approx([2.5] * 3, rel=0.08)


def test_images_that_are_separated_perfectly_do_not_make_every_answer_certain():
    targets, z = np.repeat([[0.0], [1.0]], 20, axis=0), np.repeat([[-3.0], [3.0]], 20, axis=0)
    p = probabilities(z, "binary", fit(targets, z, "binary"))
    assert p.max() == pytest.approx(21 / 22, abs=1e-4) and p.min() == pytest.approx(1 / 22, abs=1e-4)


@pytest.mark.parametrize("answer", [0.0, 1.0, np.nan])
def test_a_label_with_one_answer_stays_as_it_is(answer):
    targets, z = overconfident(50)
    targets[:, 1] = answer
    found = fit(targets, z, "multilabel")
    assert found[1] == 1 and found[0] != 1
    assert (fit(np.eye(3)[np.zeros(9, int)], np.ones((9, 3)), "multiclass") == 1).all()


def test_calibration_lowers_the_error_and_changes_no_ranking():
    targets, z = overconfident(1500, (4.0,))
    space = images.BINARY
    before, after = (probabilities(z, "binary", t) for t in (np.ones(1), fit(targets, z, "binary")))
    scores = [score(targets, p, space, [0.5], range(1500), resamples=0)["macro"] for p in (before, after)]
    assert scores[1]["ece"]["value"] < 0.5 * scores[0]["ece"]["value"]
    assert scores[1]["brier"]["value"] < scores[0]["brier"]["value"]
    assert scores[1]["auc"]["value"] == pytest.approx(
        scores[0]["auc"]["value"], abs=1e-4
    )  # 1 in float32 is reached sooner before
    assert scores[1]["sensitivity"] == scores[0]["sensitivity"]


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_what_calibration_did_can_be_undone_to_show_it(task):
    z = np.random.default_rng(0).normal(0, 2, (30, 3))
    temperatures = np.array([1.7, 1.7, 1.7] if task == "multiclass" else [0.5, 1.0, 2.0])
    plain = probabilities(z, task, np.ones(3))
    np.testing.assert_allclose(uncalibrated(probabilities(z, task, temperatures), task, temperatures), plain, atol=2e-5)


def test_reliability_by_hand():
    targets, p = np.array([[0.0], [1.0], [1.0], [np.nan], [0.0]]), np.array([[0.05], [0.1], [0.95], [0.5], [0.91]])
    assert reliability(targets, p) == [
        {"images": 2, "probability": pytest.approx(0.075), "positive": 0.5},
        {"images": 2, "probability": pytest.approx(0.93), "positive": 0.5},
    ]


@pytest.mark.parametrize(
    ("space", "stored"),
    [
        (images.BINARY, {"PNEUMONIA": {"temperature": 2.0}}),
        (THREE, {"bacterial": {"temperature": 2.0}, "normal": {"temperature": 2.0}, "viral": {"temperature": 2.0}}),
    ],
    ids=["binary", "multiclass"],
)
def test_a_bundle_keeps_them_and_its_classifier_applies_them(tmp_path, space, stored):
    torch.manual_seed(0)
    net = build("cnn5", 1, len(space.outputs), 0.0).eval()
    for name, calibration in (
        ("plain", {}),
        ("calibrated", {"calibration": described(np.full(len(space.outputs), 2.0), space)}),
    ):
        contents = BundleContents(
            network="cnn5",
            space=space,
            preprocessing=Preprocessing(32, 32),
            thresholds=dict.fromkeys(space.outputs, 0.5),
            **calibration,
        )
        write_bundle(tmp_path / name, net, contents, "", SOURCE_DIR)
    assert json.loads((tmp_path / "calibrated" / "bundle.json").read_text())["calibration"] == stored
    paths = images.written(tmp_path, 3, (50, 60))
    plain, calibrated = (Classifier.load(tmp_path / name).predict(paths) for name in ("plain", "calibrated"))
    temperatures = Bundle.load(tmp_path / "calibrated").temperatures
    np.testing.assert_allclose(uncalibrated(calibrated, space.task, temperatures), plain, atol=1e-5)
    assert np.abs(calibrated - plain).max() > 1e-3


def test_what_a_bundle_does_not_say_is_one():
    assert temperatures_of({"Mass": {"temperature": 3}}, LabelSpace(("Mass", "Nodule"), "multilabel")).tolist() == [
        3,
        1,
    ]
    assert temperatures_of({}, THREE).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "stored",
    [
        {"PNEUMONIA": {"temperature": 0}},
        {"PNEUMONIA": {"temperature": "hot"}},
        {"PNEUMONIA": 2},
        [7],
        {"PNEUMONIA": {"temperature": None}},
    ],
)
def test_a_temperature_that_is_none_damages_the_bundle(tmp_path, stored):
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
