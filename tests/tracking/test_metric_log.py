"""Metrics in the log: what a line says is what SageMaker's regexes read back."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thorax.config import TrainingConfig
from thorax.config.fields import about
from thorax.tracking.metric_log import METRICS, line, metric_definitions, number, objective_key, read, regex

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
VALUES = st.dictionaries(st.sampled_from(sorted(METRICS)), FLOATS)


def taken(key, log):
    """As SageMaker does: the one group of each match of the definition's regex, the last one counts."""
    definition = next(d for d in metric_definitions() if d["Name"] == METRICS[key])
    found = re.findall(definition["Regex"], log)
    return float(found[-1]) if found else None


def near(value):
    return pytest.approx(value, rel=1e-12, abs=5.1e-7)


@settings(deadline=None)
@given(VALUES)
@example({"learning_rate": 7e-05, "validation_loss": 5e-324, "train_loss": -1e-9, "validation_auc": 1e300})
@example({"validation_accuracy": 0.1, "validation_balanced_accuracy": 0.9, "test_balanced_accuracy": 0.8})
def test_every_metric_survives_its_line_and_its_regex(values):
    log = f"noise\n{line('epoch 3/16', values)}\nnoise\n"
    for key in METRICS:
        value = values.get(key, math.nan)
        assert taken(key, log) == (near(value) if math.isfinite(value) else None)
    assert read(log) == {key: near(value) for key, value in values.items() if math.isfinite(value)}


@settings(deadline=None)
@given(VALUES)
def test_no_number_has_an_exponent_or_is_not_one(values):
    text = line("epoch 1/1", values)
    assert "\n" not in text
    written = re.findall(r"=([^;\s]*)", text)
    assert len(written) == sum(map(math.isfinite, values.values()))
    assert all(re.fullmatch(r"-?[0-9]+\.[0-9]{6}(?:[0-9]{3})?", text) for text in written)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 12))
def test_numbers_are_fixed_point(value, digits):
    assert re.fullmatch(rf"-?[0-9]+\.[0-9]{{{digits}}}", number(value, digits))
    assert float(number(value, digits)) == pytest.approx(value, rel=1e-12, abs=0.51 * 10**-digits)


@pytest.mark.parametrize(
    ("value", "text"), [(7e-05, "0.000070"), (0.5, "0.500000"), (-1.25, "-1.250000"), (123456789.0, "123456789.000000")]
)
def test_numbers_as_they_are_written(value, text):
    assert number(value) == text


def test_a_line_as_it_is_written():
    values = {"train_loss": 0.25, "validation_auc": math.nan, "validation_f1": 1.0, "learning_rate": math.inf}
    assert line("epoch 3/16", values) == "epoch 3/16: train_loss=0.250000; validation_f1=1.000000"
    assert line("epoch 3/16", {}) == "epoch 3/16: "


def test_an_undefined_value_does_not_hide_the_one_before():
    log = "\n".join(line("epoch", {"validation_auc": value, "validation_loss": 1.0}) for value in (0.7, math.nan))
    assert read(log) == {"validation_auc": 0.7, "validation_loss": 1.0}


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_the_last_value_wins(values):
    log = "\n".join(line(f"epoch {k}", {"validation_auc": value}) for k, value in enumerate(values))
    assert taken("validation_auc", log) == read(log)["validation_auc"] == near(values[-1])


def test_a_tuner_reads_the_best_epoch_from_the_last_line():
    epochs = [
        line(f"epoch {k}/3", {"validation_auc": auc, "train_loss": loss})
        for k, auc, loss in ((1, 0.7, 0.9), (2, 0.9, 0.5), (3, 0.8, 0.2))
    ]
    best = line("best epoch 2/3", {"validation_auc": 0.9, "train_loss": 0.5})
    assert read("\n".join([*epochs, best])) == {"validation_auc": 0.9, "train_loss": 0.5}


def test_a_key_without_a_metric_is_a_mistake_of_ours():
    with pytest.raises(KeyError):
        line("epoch", {"validation_aucc": 0.5})


def test_no_regex_matches_within_another_key():
    for key in METRICS:
        for other in METRICS:
            assert bool(re.search(regex(other), f"{key}=0.5")) is (key == other)
            assert not re.search(regex(other), f"x{key}=0.5")
            assert not re.search(regex(other), f"x_{key}=0.5")


@pytest.mark.parametrize(
    "text",
    ["train_loss=5", "train_loss=nan", "train_loss 0.5", "train_loss: 0.5", "train:loss=0.5", '"learning_rate": 0.001'],
)
def test_other_text_is_not_taken_for_a_metric(text):
    assert read(text) == {}


def test_sagemaker_takes_the_definitions():
    """CreateTrainingJob.

    At most 40, names of 1-255 characters without repeats, regexes of 1-500 with the value as their group.
    """
    definitions = metric_definitions()
    assert len(definitions) == len(METRICS) <= 40
    assert len({d["Name"] for d in definitions}) == len(definitions)
    for definition in definitions:
        assert set(definition) == {"Name", "Regex"}
        assert re.fullmatch(r".{1,255}", definition["Name"])
        assert len(definition["Regex"]) <= 500
        assert re.compile(definition["Regex"]).groups == 1


def test_every_objective_is_a_metric():
    objective = TrainingConfig.__dataclass_fields__["objective"]
    for choice in about(objective).choices:
        assert METRICS[objective_key(choice)] == f"validation:{choice}"
