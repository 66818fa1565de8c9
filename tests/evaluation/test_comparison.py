"""The paired comparison: DeLong's variance where images are independent, nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from thorax.errors import ThoraxError
from thorax.evaluation.comparison import compare
from thorax.labels import LabelSpace

BINARY = LabelSpace(("NORMAL", "PNEUMONIA"), "binary")
TWO = LabelSpace(("Mass", "Nodule"), "multilabel")


def two_classifiers(images=300, gain=0.5, seed=0):
    """Targets, and probabilities of two classifiers that make much the same mistakes.

    The second is better by `gain`.
    """
    random = np.random.default_rng(seed)
    y = (random.random(images) < 0.4).astype(float)
    shared = random.normal(y, 1)
    first, second = (shared + random.normal(0, 0.4, images) + extra * y for extra in (0.0, gain))
    return y[:, None], *(1 / (1 + np.exp(-z))[:, None] for z in (first, second))


def delong(y, first, second):
    """Difference, its standard error and p.

    DeLong, DeLong and Clarke-Pearson, "Comparing the areas", Biometrics 1988.
    """
    fields = [(p[y == 1][:, None] > p[y == 0]) + 0.5 * (p[y == 1][:, None] == p[y == 0]) for p in (first, second)]
    by_positive, by_negative = (np.stack([field.mean(axis=axis) for field in fields]) for axis in (1, 0))
    covariance = np.cov(by_positive) / by_positive.shape[1] + np.cov(by_negative) / by_negative.shape[1]
    difference = by_positive[1].mean() - by_positive[0].mean()
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    return difference, error, 2 * norm.sf(abs(difference / error))


@pytest.mark.parametrize(("gain", "seed"), [(0.5, 0), (0.15, 1), (0.0, 2)])
def test_it_agrees_with_delong_where_every_image_has_its_own_patient(gain, seed):
    y, first, second = two_classifiers(gain=gain, seed=seed)
    entry = compare(y, first, second, BINARY, range(300), resamples=2000)["labels"]["PNEUMONIA"]
    difference, error, p = delong(y[:, 0], first[:, 0], second[:, 0])
    assert entry["difference"] == pytest.approx(difference, abs=1e-12)
    assert entry["first"] == pytest.approx(roc_auc_score(y, first), abs=1e-9)
    assert (entry["high"] - entry["low"]) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    assert entry["p"] == pytest.approx(p, abs=0.04) and (entry["p"] < 0.05) == (p < 0.05)


def test_a_classifier_is_not_better_than_itself():
    y, first, _ = two_classifiers()
    entry = compare(y, first, first, BINARY, range(300), resamples=50)["macro"]
    assert (entry["difference"], entry["low"], entry["high"], entry["p"]) == (0, 0, 0, 1)


def test_swapping_the_two_turns_the_sign():
    y, first, second = two_classifiers()
    one, other = (
        compare(y, *pair, BINARY, range(300), resamples=200)["macro"] for pair in ((first, second), (second, first))
    )
    assert (one["difference"], one["p"]) == (pytest.approx(-other["difference"]), other["p"])
    assert one["low"] == pytest.approx(-other["high"])


def test_copies_of_images_are_no_new_patients():
    y, first, second = (np.repeat(array, 5, axis=0) for array in two_classifiers(80))
    by_patient, by_image = (
        compare(y, first, second, BINARY, who, resamples=300)["macro"] for who in (np.arange(400) // 5, range(400))
    )
    assert by_patient["high"] - by_patient["low"] > 1.7 * (by_image["high"] - by_image["low"])
    assert by_patient["p"] >= by_image["p"]


def test_macro_is_the_mean_over_labels_with_both_answers_and_unknown_is_masked():
    y, first, second = two_classifiers()
    targets = np.concatenate([y, np.zeros_like(y)], axis=1)
    targets[:40, 0] = np.nan
    got = compare(targets, np.repeat(first, 2, axis=1), np.repeat(second, 2, axis=1), TWO, range(300), resamples=30)
    assert set(got["labels"]["Nodule"].values()) == {None}
    assert got["macro"] == got["labels"]["Mass"]
    assert got["macro"]["second"] == pytest.approx(roc_auc_score(y[40:], second[40:]), abs=1e-9)


def test_one_patient_gives_a_difference_and_no_interval():
    entry = compare(*two_classifiers(), BINARY, ["p"] * 300)["macro"]
    assert entry["difference"] is not None and entry["low"] is None and entry["p"] is None


def test_what_cannot_be_compared():
    y, first, second = two_classifiers()
    with pytest.raises(ThoraxError, match=r"\(300, 1\).*\(299, 1\)"):
        compare(y, first, second[1:], BINARY, range(300))
    with pytest.raises(ThoraxError, match="299 patients for 300 images"):
        compare(y, first, second, BINARY, range(299))
