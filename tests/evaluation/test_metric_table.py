"""One entry is one metric: it reaches the scores, the tables, the report; and the numbers of version 0.2 stay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import fbeta_score, log_loss

from thorax.errors import ThoraxError
from thorax.evaluation.arrays import ratio
from thorax.evaluation.calibration import Calibration
from thorax.evaluation.comparison import compare
from thorax.evaluation.formatting import subgroup_table, table
from thorax.evaluation.metric_table import METRICS, Metric, decision
from thorax.evaluation.metrics import score
from thorax.evaluation.report import Report
from thorax.evaluation.subgroups import subgroups
from thorax.labels import LabelSpace

TWO = LabelSpace(("Mass", "Nodule"), "multilabel")
#: Scores of version 0.2.0 for `stored_case`.
STORED = json.loads((Path(__file__).parent / "scores.json").read_text())


def stored_case(task, labels, images):
    random = np.random.default_rng(labels)
    if task == "multiclass":
        named = random.integers(0, labels, images)
        y = np.eye(labels, dtype=np.float32)[named]
        p = (random.dirichlet(np.ones(labels), images) * 0.7 + 0.3 * y).astype(np.float32)
        y[:7] = np.nan
    else:
        y = (random.random((images, labels)) < 0.3).astype(np.float32)
        p = (0.6 * random.random((images, labels)) + 0.4 * y * random.random((images, labels))).astype(np.float32)
        p = p.round(2)
        y[random.random((images, labels)) < 0.15] = np.nan
    names = ("none", "a") if task == "binary" else tuple(f"l{k}" for k in range(labels))
    thresholds, patients = np.linspace(0.3, 0.6, labels), [f"p{k // 3}" for k in range(images)]
    return y, p, LabelSpace(names, task), thresholds, patients


def flat(values, name=""):
    """{path: number} of nested dicts."""
    if not isinstance(values, dict):
        return {name: values}
    return {path: number for key, value in values.items() for path, number in flat(value, f"{name}/{key}").items()}


@pytest.mark.parametrize(
    ("task", "labels", "images"), [("binary", 1, 120), ("multilabel", 3, 200), ("multiclass", 4, 150)]
)
def test_values_and_intervals_are_those_of_version_0_2(task, labels, images):
    """But for decisions on exclusive classes, which were at a threshold of each class and are now the most probable."""
    scores = score(*stored_case(task, labels, images), resamples=120, seed=3)
    stored = STORED[f"{task}{labels}"]
    assert [*scores["macro"]] == [*stored["macro"]]
    same, before = flat({key: scores[key] for key in stored}), flat(stored)
    if task == "multiclass":
        decided = {name for name in METRICS if METRICS[name].kind == "decision"} | {"confusion", "threshold"}
        same, before = (
            {path: v for path, v in values.items() if path.startswith("/accuracy") or not decided & {*path.split("/")}}
            for values in (same, before)
        )
        assert len(before) > 20
    assert same == pytest.approx(before, abs=1e-12)


def test_comparison_and_subgroups_are_those_of_version_0_2():
    y, p, space, thresholds, patients = stored_case("multilabel", 3, 200)
    found = compare(y, p, np.clip(p * 0.9, 0, 1), space, patients, resamples=60)["macro"]
    assert flat(found) == pytest.approx(flat(STORED["comparison"]), abs=1e-12)
    sex = {"sex": ["F", "M"] * 100}
    first = subgroups(y, p, space, thresholds, patients, sex, resamples=40)[0]
    assert [*first["macro"]] == [*STORED["subgroup"]]
    assert flat(first["macro"]) == pytest.approx(flat(STORED["subgroup"]), abs=1e-12)


@pytest.fixture
def toy_metrics():
    """A metric of decisions, and one that averages a number of each entry; both registered from outside."""

    def losses(entries):
        return -np.log(np.where(entries.positive, entries.probability, 1 - entries.probability))

    METRICS.register("f2", decision("F2", lambda c: ratio(5 * c.tp, 5 * c.tp + 4 * c.fn + c.fp), by_group=True))
    METRICS.register(
        "log_loss",
        Metric(
            "Log loss",
            "probability",
            lambda entries: losses(entries).mean(),
            lambda r: ratio(r.total(losses(r.entries)), r.counts.known),
            rows=("macro",),
        ),
    )
    yield
    METRICS.remove("f2")
    METRICS.remove("log_loss")


def test_a_metric_from_outside_is_scored_printed_and_reported(toy_metrics):
    random = np.random.default_rng(0)
    y = (random.random((80, 2)) < 0.4).astype(np.float32)
    p = random.uniform(0.05, 0.95, (80, 2)).astype(np.float32)
    patients = [f"p{k // 2}" for k in range(80)]
    scores = score(y, p, TWO, [0.5, 0.5], patients, resamples=100)
    for k, name in enumerate(TWO.outputs):
        entry = scores["labels"][name]
        assert entry["f2"]["value"] == pytest.approx(fbeta_score(y[:, k], p[:, k] >= 0.5, beta=2))
        assert entry["log_loss"]["value"] == pytest.approx(log_loss(y[:, k], p[:, k].astype(float)))
        for metric in ("f2", "log_loss"):
            assert entry[metric]["low"] < entry[metric]["value"] < entry[metric]["high"]
    assert scores["macro"]["f2"]["value"] == pytest.approx(
        np.mean([fbeta_score(y[:, k], p[:, k] >= 0.5, beta=2) for k in range(2)])
    )
    assert scores["micro"]["f2"]["value"] == pytest.approx(fbeta_score(y.ravel(), p.ravel() >= 0.5, beta=2))
    json.dumps(scores, allow_nan=False)

    _, heading, mass, _, macro, majority, _ = table({"test": scores}, TWO).splitlines()
    assert heading.split()[-3:] == ["F2", "Log", "loss"]
    shown = {row: f"{entry['value']:.3f}" for row, entry in (("f2", scores["labels"]["Mass"]["f2"]),)}
    assert shown["f2"] in mass and f"{scores['labels']['Mass']['log_loss']['value']:.3f}" not in mass
    assert f"{scores['macro']['log_loss']['value']:.3f}" in macro
    assert majority.split()[-1] == "-"  # nobody knows what a metric from outside is without looking

    groups = subgroups(y, p, TWO, [0.5, 0.5], patients, {"sex": ["F", "M"] * 40}, resamples=0)
    assert "F2" in subgroup_table(groups).splitlines()[0]
    report = Report("Toy", TWO, {"test": scores}, {"test": (y, p)}, Calibration.none(2), groups=groups)
    page = report.html()
    assert page.count("<th>F2</th>") == 2 and page.count("<th>Log loss</th>") == 1
    assert f"<td>{scores['labels']['Nodule']['f2']['value']:.3f}<small>" in page
    assert report.to_dict()["scores"]["test"]["macro"]["log_loss"] == scores["macro"]["log_loss"]


def test_scores_that_were_stored_before_a_metric_was_registered_are_shown(toy_metrics):
    result = {name: {"value": 0.5, "low": None, "high": None} for name in ("auc", "f1", "sensitivity", "specificity")}
    stored = {"n": 4, "patients": 4, "accuracy": result["auc"], "macro": result}
    stored["labels"] = {name: {"n": 4, "positives": 2, "threshold": 0.5, **result} for name in TWO.outputs}
    assert table({"test": stored}, TWO).splitlines()[2].split()[-2:] == ["0.500", "-"]


def test_an_unknown_metric_is_named():
    with pytest.raises(ThoraxError, match="metric au is unknown; did you mean auc"):
        METRICS["au"]
