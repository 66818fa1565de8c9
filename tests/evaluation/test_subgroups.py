"""Subgroups: ages in bands, numbers in quarters, names as they are, and each group's score that of its images alone."""

from __future__ import annotations

import numpy as np
import pytest

from thorax.errors import ThoraxError
from thorax.evaluation.metrics import score
from thorax.evaluation.subgroups import group, subgroups
from thorax.labels import LabelSpace

BINARY = LabelSpace(("NORMAL", "PNEUMONIA"), "binary")


def test_ages_in_years_make_bands():
    assert group("age", ["0", "17", "18", "59.5", "60", "80", "101", ""]) == [
        "0 to 17",
        "0 to 17",
        "18 to 39",
        "40 to 59",
        "60 to 79",
        *["80 and above"] * 2,
        "unknown",
    ]
    assert group("Patient Age", ["058Y", "7"]) == ["40 to 59", "0 to 17"]
    assert group("image_age", ["old", "new"]) == ["old", "new"]  # no years
    assert group("percentage", ["1", "2"]) == ["1", "2"]  # a name that only holds the letters


def test_many_numbers_make_quarters_and_few_stay():
    values = [str(k) for k in range(100)]
    found = group("exposure", [*values, " "])
    assert [found.count(name) for name in dict.fromkeys(found)] == [25, 25, 25, 25, 1]
    assert found[0] == "0 to below 24.75" and found[-2] == "74.25 and above" and found[-1] == "unknown"
    assert group("machine", ["2", "10", "2"]) == ["2", "10", "2"]


def test_too_many_names_are_refused():
    with pytest.raises(ThoraxError, match="--by patient: it has 21 different values, such as P0;") as raised:
        group("patient", [f"P{k}" for k in range(21)])
    assert "\n" not in str(raised.value)


def test_each_group_is_scored_on_its_own_images():
    random = np.random.default_rng(0)
    targets = (random.random((80, 1)) < 0.5).astype(float)
    p = np.clip(targets * 0.3 + random.random((80, 1)) * 0.7, 0, 1)
    sex, patients = np.array(["F", "M"])[random.integers(0, 2, 80)], [str(k // 2) for k in range(80)]
    sex[:3] = ""
    rows = subgroups(targets, p, BINARY, [0.5], patients, {"sex": sex.tolist(), "age": ["70"] * 80}, resamples=40)
    assert [(row["column"], row["group"]) for row in rows] == [
        ("sex", "F"),
        ("sex", "M"),
        ("sex", "unknown"),
        ("age", "60 to 79"),
    ]
    assert sum(row["n"] for row in rows[:3]) == rows[3]["n"] == 80
    women = sex == "F"
    alone = score(targets[women], p[women], BINARY, [0.5], np.array(patients)[women], resamples=40)
    assert rows[0]["macro"]["auc"] == alone["macro"]["auc"] and rows[0]["patients"] == alone["patients"]
    assert rows[0]["labels"]["PNEUMONIA"]["positives"] == targets[women].sum()
