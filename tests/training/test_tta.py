"""A run with tta scores, calibrates and chooses thresholds on the views by which its bundle answers."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from conftest import TINY
from thorax import Bundle, evaluate, train

pytestmark = pytest.mark.usefixtures("signals_as_before")


def columns(file, part):
    with file.open() as stream:
        return {row["id"]: row for row in csv.DictReader(stream) if row["part"] == part}


@pytest.fixture(scope="module")
def runs(images, tmp_path_factory):
    """Whoever augments, the reading process or the trainer, the images are the same."""
    out = tmp_path_factory.mktemp("tta")
    channels = {"train": images / "train", "test": images / "test"}
    config = {**TINY, "epochs": "1", "tta": "3", "threshold_views": "1"}
    return [train({**config, "num_workers": n}, output=out / n, **channels) for n in ("0", "1")]


def test_the_bundle_answers_as_the_run_scored(runs, images):
    result = runs[0]
    bundle = Bundle.load(result.bundle)
    assert bundle.views.count == 3
    found = evaluate(bundle, images / "test", resamples=0).predictions
    stored = columns(result.bundle.parent / "output/data/predictions.csv", "test")
    for name, p in zip(found.ids, found.probabilities[:, 0], strict=True):
        assert float(stored[name]["probability:PNEUMONIA"]) == pytest.approx(p, abs=2e-5)
    assert result.metrics["test"]["macro"]["auc"]["value"] is not None


def test_thresholds_and_calibration_do_not_depend_on_who_augments(runs):
    one, two = (json.loads((run.bundle / "bundle.json").read_text()) for run in runs)
    assert one["configuration"]["tta"] == 3
    for key in ("thresholds", "calibration"):
        np.testing.assert_allclose(*(json_numbers(stored[key]) for stored in (one, two)), rtol=1e-4)


def json_numbers(stored):
    if isinstance(stored, dict):
        return [n for value in stored.values() for n in json_numbers(value)]
    return [stored] if isinstance(stored, float) else []


def test_another_number_than_the_bundles_is_told(runs, images, capsys):
    evaluate(runs[0].bundle, images / "test", resamples=0)
    assert "note: each image is scored in 3 views (tta=3)\n" in capsys.readouterr().out
    from thorax.scoring import EvaluationOptions, run_evaluation

    run_evaluation(runs[0].bundle, images / "test", EvaluationOptions(resamples=0, tta=1))
    told = "each image is scored in 1 view (tta=1); thresholds and calibration are of tta=3, by which the bundle was"
    assert told in capsys.readouterr().out
