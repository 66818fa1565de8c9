"""The weighted metrics are scikit-learn's, and the resamples are of patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from thorax.evaluation.entries import Counts, Entries, Resamples
from thorax.evaluation.intervals import bootstrap, interval, resample_counts
from thorax.evaluation.metric_table import METRICS
from thorax.evaluation.ranking import Ranking

TIED = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])


@st.composite
def weighted_images(draw):
    """Target with unknowns, probabilities with many ties, and four rows of counts with many zeros."""
    n = draw(st.integers(1, 30))

    def column(values):
        return draw(st.lists(values, min_size=n, max_size=n))

    target = np.array(column(st.sampled_from([0.0, 1.0, float("nan")])), dtype=np.float32)
    scores = column(draw(st.sampled_from([TIED, st.floats(0, 1, width=32)])))
    weights = np.array([column(st.integers(0, 4)) for _ in range(4)], dtype=np.int32)
    return target, np.array(scores, dtype=np.float32), weights


@given(weighted_images())
@settings(max_examples=80, deadline=None)
def test_areas_are_those_of_scikit_learn(images):
    target, probability, weights = images
    auc, average_precision = Ranking(target, probability).areas(weights)
    known = ~np.isnan(target)
    for row, one_auc, one_precision in zip(weights, auc, average_precision, strict=True):
        kept = known & (row > 0)
        if len(np.unique(target[kept])) < 2:
            assert np.isnan(one_auc) and np.isnan(one_precision)
            continue
        images_kept = target[kept], probability[kept]
        assert one_auc == pytest.approx(sk.roc_auc_score(*images_kept, sample_weight=row[kept]), abs=1e-9)
        assert one_precision == pytest.approx(
            sk.average_precision_score(*images_kept, sample_weight=row[kept]), abs=1e-9
        )


@given(weighted_images())
@settings(max_examples=60, deadline=None)
def test_threshold_metrics_are_those_of_scikit_learn(images):
    target, probability, weights = images
    decision = probability >= 0.25
    images_of_one = Entries.known(target, probability, decision, np.arange(len(target)))
    entries = (target == 1) & decision, (target == 0) & decision, (target == 0) & ~decision, (target == 1) & ~decision
    counts = Counts(*(weights @ entry.astype(float) for entry in entries))
    resamples = Resamples(images_of_one, weights, counts, np.zeros(4), np.zeros((4, 10)))
    values = {name: METRICS[name].resampled(resamples) for name in METRICS if METRICS[name].kind == "decision"}
    for i, row in enumerate(weights):
        kept = ~np.isnan(target) & (row > 0)
        positive = target[kept] == 1
        if not 0 < positive.sum() < kept.sum():
            continue
        given_row = {"y_true": positive, "y_pred": decision[kept], "sample_weight": row[kept]}
        assert values["f1"][i] == pytest.approx(sk.f1_score(**given_row), abs=1e-9)
        assert values["sensitivity"][i] == pytest.approx(sk.recall_score(**given_row), abs=1e-9)
        assert values["specificity"][i] == pytest.approx(sk.recall_score(**given_row, pos_label=False), abs=1e-9)
        assert values["balanced_accuracy"][i] == pytest.approx(sk.balanced_accuracy_score(**given_row), abs=1e-9)
        assert values["accuracy"][i] == pytest.approx(sk.accuracy_score(**given_row), abs=1e-9)
        if decision[kept].any():
            assert values["ppv"][i] == pytest.approx(sk.precision_score(**given_row), abs=1e-9)
        if not decision[kept].all():
            assert values["npv"][i] == pytest.approx(sk.precision_score(**given_row, pos_label=False), abs=1e-9)


def test_weights_of_owners_reach_all_their_images():
    target, probability = np.array([1.0, 0, 1, 0, 0]), np.array([0.9, 0.8, 0.3, 0.2, 0.8])
    owner, counts = np.array([2, 0, 1, 2, 1]), np.array([[1, 3, 0], [2, 1, 1]])
    ranking = Ranking(target, probability)
    np.testing.assert_array_equal(ranking.areas(counts, owner), ranking.areas(counts[:, owner]))


def test_areas_by_hand():
    # Falling: + (0.9), then - and + tied (0.6), then - (0.1). Pairs won: 2 + (0.5 + 1) of 4.
    auc, average_precision = Ranking(np.array([1.0, 0, 1, 0]), np.array([0.9, 0.6, 0.6, 0.1])).areas(np.ones((1, 4)))
    assert auc[0] == pytest.approx(3.5 / 4)
    assert average_precision[0] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_without_known_images_the_areas_are_undefined():
    ranking = Ranking(np.full(3, np.nan), np.array([0.1, 0.2, 0.3]))
    assert not ranking.defined
    assert np.isnan(ranking.areas(np.ones((2, 3)))).all()


@given(st.integers(1, 40), st.integers(0, 30), st.integers(1, 31), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_each_resample_draws_as_many_patients_as_there_are(patients, resamples, at_once, seed):
    rows = [*resample_counts(patients, resamples, seed, at_once=at_once)]
    counts = np.concatenate([np.zeros((0, patients), dtype=np.int32), *rows])
    assert counts.shape == (resamples, patients)
    assert (counts.sum(axis=1) == patients).all()
    whole = [*resample_counts(patients, resamples, seed, at_once=1000)]
    np.testing.assert_array_equal(counts, np.concatenate([counts[:0], *whole]))


def test_bootstrap_is_the_metric_of_each_resample(monkeypatch):
    monkeypatch.setattr("thorax.evaluation.intervals.CHUNK_ENTRIES", 100)  # several chunks
    random = np.random.default_rng(3)
    images, resamples = 40, 12
    targets = random.choice([0.0, 1.0, np.nan], size=(images, 2), p=[0.5, 0.3, 0.2])
    probabilities = random.random((images, 2)).round(1)
    patients = np.arange(images) // 3
    decisions = probabilities >= 0.4
    answers = np.stack([(decisions == targets).sum(axis=1), (~np.isnan(targets)).sum(axis=1)], axis=1)
    drawn = bootstrap(targets, probabilities, decisions, answers, patients, resamples=resamples, seed=5)
    assert set(drawn.labels) == set(drawn.micro) == set(METRICS)

    (counts,) = resample_counts(14, resamples, 5, at_once=resamples)
    for row, patients_drawn in enumerate(counts):
        chosen = np.repeat(np.arange(images), patients_drawn[patients])
        assert drawn.overall[row] == pytest.approx(answers[chosen, 0].sum() / answers[chosen, 1].sum())
        found = [({name: values[row, i] for name, values in drawn.labels.items()}, [i]) for i in range(2)]
        for values, columns in (*found, ({name: values[row] for name, values in drawn.micro.items()}, [0, 1])):
            y, p, d = (array[chosen][:, columns].ravel() for array in (targets, probabilities, decisions))
            known = ~np.isnan(y)
            y, p, d = y[known], p[known], d[known]
            expected = {
                "auc": sk.roc_auc_score(y, p),
                "average_precision": sk.average_precision_score(y, p),
                "f1": sk.f1_score(y, d),
                "ppv": sk.precision_score(y, d),
                "npv": sk.precision_score(y, d, pos_label=0),
                "brier": sk.brier_score_loss(y, p),
                "ece": calibration_error_slowly(y, p),
                "sensitivity": sk.recall_score(y, d),
                "balanced_accuracy": sk.balanced_accuracy_score(y, d),
            }
            assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def calibration_error_slowly(y, p):
    """Guo et al. (2017), equation 3, image by image and bin by bin."""
    total = 0.0
    for k in range(10):
        inside = (p > k / 10) & (p <= (k + 1) / 10) if k else p <= 0.1
        if inside.any():
            total += inside.sum() / len(p) * abs(y[inside].mean() - p[inside].mean())
    return total


def test_interval_is_the_middle_95_percent_of_what_is_defined():
    assert interval(np.append(np.arange(101.0), np.nan)) == (2.5, 97.5)
    assert interval(np.array([np.nan])) == (None, None)
    assert interval(np.array([])) == (None, None)
