"""Epoch metrics and scores: values worked by hand, agreement with scikit-learn, and what is undefined."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from thorax.errors import ThoraxError
from thorax.evaluation.metric_table import METRICS
from thorax.evaluation.metrics import epoch_metrics, score
from thorax.labels import LabelSpace

BINARY = LabelSpace(("NORMAL", "PNEUMONIA"), "binary")
TWO = LabelSpace(("Mass", "Nodule"), "multilabel")
THREE = LabelSpace(("normal", "bacterial", "viral"), "multiclass")
NAN = float("nan")
INTERVAL_KEYS = {"value", "low", "high"}


def column(*values):
    return np.array(values, dtype=np.float32)[:, None]


def some_images(images=60, labels=2, seed=0, unknown=0.2):
    random = np.random.default_rng(seed)
    targets = (random.random((images, labels)) < 0.4).astype(np.float32)
    probabilities = (0.6 * random.random((images, labels)) + 0.4 * targets * random.random((images, labels))).round(2)
    targets[random.random((images, labels)) < unknown] = np.nan
    return targets, probabilities.astype(np.float32)


def some_classes(images=60, classes=3, seed=0):
    random = np.random.default_rng(seed)
    named = random.integers(0, classes, images)
    probabilities = random.dirichlet(np.ones(classes), images) * 0.7 + 0.3 * np.eye(classes)[named]
    return np.eye(classes, dtype=np.float32)[named], probabilities.astype(np.float32)


def close(left, right):
    return left == pytest.approx(right, abs=1e-6, nan_ok=True)


# --- after each epoch


def test_binary_epoch_by_hand():
    # Ranked + - + -: three of four pairs won. At 0.5, which itself is positive: tp 1, fp 1, fn 1, tn 1.
    got = epoch_metrics(column(1, 0, 1, 0), column(0.9, 0.5, 0.4, 0.1), "binary")
    assert got == {"auc": 0.75, "f1": 0.5, "accuracy": 0.5, "balanced_accuracy": 0.5}


def test_multiclass_epoch_by_hand():
    targets = np.eye(3)[[0, 0, 1, 2]]
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2]])
    got = epoch_metrics(targets, probabilities, "multiclass", top_k=2)
    # argmax 0 1 1 0: F1 of the classes 1/2, 2/3, 0; recall 1/2, 1, 0; the class is in the two likeliest of three
    # images.
    assert got["accuracy"] == 0.5
    assert got["f1"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert got["balanced_accuracy"] == pytest.approx(0.5)
    assert got["top_k"] == 0.75


def test_an_image_with_unknown_class_does_not_count():
    targets, probabilities = some_classes()
    more = np.concatenate([targets, np.full((5, 3), np.nan)]), np.concatenate([probabilities, np.full((5, 3), 0.3)])
    got = epoch_metrics(targets, probabilities, "multiclass", top_k=2)
    assert got == pytest.approx(epoch_metrics(*more, "multiclass", top_k=2))


@pytest.mark.parametrize("seed", range(5))
def test_epoch_agrees_with_scikit_learn(seed):
    targets, probabilities = some_images(seed=seed, unknown=0)
    decisions = probabilities >= 0.5
    got = epoch_metrics(targets, probabilities, "multilabel")
    assert close(got["auc"], sk.roc_auc_score(targets, probabilities))
    assert close(got["f1"], sk.f1_score(targets, decisions, average="macro"))
    assert close(got["accuracy"], sk.accuracy_score(targets.ravel(), decisions.ravel()))
    recalls = [sk.balanced_accuracy_score(t, d) for t, d in zip(targets.T, decisions.T, strict=True)]
    assert close(got["balanced_accuracy"], np.mean(recalls))

    targets, probabilities = some_classes(seed=seed)
    named, decided = targets.argmax(axis=1), probabilities.argmax(axis=1)
    got = epoch_metrics(targets, probabilities, "multiclass", top_k=2)
    assert close(got["auc"], sk.roc_auc_score(targets, probabilities))
    assert close(got["f1"], sk.f1_score(named, decided, average="macro"))
    assert close(got["accuracy"], sk.accuracy_score(named, decided))
    assert close(got["balanced_accuracy"], sk.balanced_accuracy_score(named, decided))
    assert close(got["top_k"], sk.top_k_accuracy_score(named, probabilities, k=2))


def test_top_k_is_only_there_when_asked_for():
    assert "top_k" not in epoch_metrics(*some_classes(), "multiclass")
    assert "top_k" not in epoch_metrics(*some_images(), "multilabel", top_k=2)
    assert epoch_metrics(*some_classes(), "multiclass", top_k=3)["top_k"] == 1.0
    with pytest.raises(ThoraxError, match="top_k=0"):
        epoch_metrics(*some_classes(), "multiclass", top_k=0)


def test_what_cannot_be_computed_is_left_out_of_the_macro_mean():
    targets = np.array([[1, 0, NAN], [0, 0, NAN], [1, 0, NAN]])
    probabilities = np.array([[0.9, 0.1, 0.1], [0.2, 0.2, 0.9], [0.8, 0.3, 0.9]])
    got = epoch_metrics(targets, probabilities, "multilabel")
    assert got == {"auc": 1.0, "f1": 1.0, "accuracy": 1.0, "balanced_accuracy": 1.0}
    probabilities[0, 1] = 0.6  # a positive is predicted where none is: that label's F1 is 0
    assert epoch_metrics(targets, probabilities, "multilabel")["f1"] == 0.5
    nothing = epoch_metrics(np.full((3, 2), np.nan), np.full((3, 2), 0.5), "multilabel")
    assert all(np.isnan(value) for value in nothing.values())


@given(st.integers(0, 2**32), st.sampled_from(["square", "squeeze", "logit"]))
@settings(max_examples=40, deadline=None)
def test_auc_does_not_change_when_the_order_stays(seed, how):
    targets, probabilities = some_images(seed=seed)
    probabilities = probabilities.astype(np.float64)
    moved = {
        "square": probabilities**2,
        "squeeze": 0.4 + probabilities / 5,
        "logit": 1 / (1 + np.exp(3 - 7 * probabilities)),
    }
    before, after = (epoch_metrics(targets, p, "multilabel")["auc"] for p in (probabilities, moved[how]))
    assert close(before, after)


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_swapping_the_two_answers_mirrors_the_metrics(seed):
    targets, probabilities = some_images(seed=seed)
    probabilities = np.where(probabilities == 0.5, 0.51, probabilities)  # a tie with the threshold is positive
    got, mirrored = (
        epoch_metrics(*pair, "multilabel") for pair in ((targets, probabilities), (1 - targets, 1 - probabilities))
    )
    for name in ("auc", "accuracy", "balanced_accuracy"):
        assert close(got[name], mirrored[name])


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_the_order_of_images_does_not_matter(seed):
    targets, probabilities = some_images(seed=seed)
    order = np.random.default_rng(seed).permutation(len(targets))
    got = epoch_metrics(targets, probabilities, "multilabel")
    assert got == pytest.approx(epoch_metrics(targets[order], probabilities[order], "multilabel"), nan_ok=True)


# --- the full score


def test_score_by_hand():
    # The threshold 0.25 itself is positive: tp 2, fp 1, tn 1, fn 0; ranked + - + - as above.
    got = score(column(1, 0, 1, 0, NAN), column(0.9, 0.6, 0.25, 0.1, 0.5), BINARY, [0.25], list("aabbc"), resamples=0)
    entry = got["labels"]["PNEUMONIA"]
    assert (got["n"], got["patients"]) == (5, 3)
    assert got["accuracy"] == {"value": 0.75, "low": None, "high": None}
    assert (entry["n"], entry["positives"], entry["prevalence"], entry["threshold"]) == (4, 2, 0.5, 0.25)
    assert entry["confusion"] == {"tp": 2, "fp": 1, "tn": 1, "fn": 0}
    expected = {
        "auc": 0.75,
        "average_precision": 0.5 * 1 + 0.5 * 2 / 3,
        "f1": 0.8,
        "sensitivity": 1.0,
        "specificity": 0.5,
        "ppv": 2 / 3,
        "npv": 1.0,
        "balanced_accuracy": 0.75,
        "accuracy": 0.75,
        "brier": (0.1**2 + 0.6**2 + 0.75**2 + 0.1**2) / 4,
        "ece": (0.1 + 0.6 + 0.75 + 0.1) / 4,  # each in a bin of its own
    }
    for metrics in (entry, got["macro"], got["micro"]):
        assert {name: metrics[name]["value"] for name in METRICS} == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_the_score_agrees_with_scikit_learn_and_unknown_labels_are_masked(seed):
    targets, probabilities = some_images(images=90, labels=2, seed=seed)
    thresholds = np.array([0.5, 0.3])
    got = score(targets, probabilities, TWO, thresholds, range(90), resamples=0)
    every, known = [], ~np.isnan(targets)
    for k, name in enumerate((*TWO.outputs, None)):
        keep = known[:, k] if name else known
        y = (targets[:, k] if name else targets)[keep]
        p = (probabilities[:, k] if name else probabilities)[keep].astype(np.float64)
        d = ((probabilities >= thresholds)[:, k] if name else probabilities >= thresholds)[keep]
        expected = {
            "auc": sk.roc_auc_score(y, p),
            "average_precision": sk.average_precision_score(y, p),
            "sensitivity": sk.recall_score(y, d),
            "specificity": sk.recall_score(y, d, pos_label=0),
            "ppv": sk.precision_score(y, d),
            "npv": sk.precision_score(y, d, pos_label=0),
            "f1": sk.f1_score(y, d),
            "balanced_accuracy": sk.balanced_accuracy_score(y, d),
            "accuracy": sk.accuracy_score(y, d),
            "brier": sk.brier_score_loss(y, p),
            "ece": calibration_error_of_scikit_learn(y, p),
        }
        entry = got["labels"][name] if name else got["micro"]
        assert {metric: entry[metric]["value"] for metric in METRICS} == pytest.approx(expected, abs=1e-9)
        every += [expected] if name else []
    macro = {metric: np.mean([expected[metric] for expected in every]) for metric in METRICS}
    assert {metric: got["macro"][metric]["value"] for metric in METRICS} == pytest.approx(macro, abs=1e-9)


def calibration_error_of_scikit_learn(y, p):
    shares, means = calibration_curve(y, p, n_bins=10)
    images = np.histogram(np.searchsorted(np.linspace(0, 1, 11)[1:-1], p), bins=np.arange(11))[0]
    return float(np.sum(np.abs(shares - means) * images[images > 0]) / len(y))


def test_the_interval_of_a_calibration_error_holds_its_value():
    """Resampling alone raises a small error: the plain percentiles would lie above it."""
    random = np.random.default_rng(1)
    p = random.random((400, 1)).astype(np.float32)
    entry = score((random.random((400, 1)) < p).astype(float), p, BINARY, [0.5], range(400), resamples=300)["labels"][
        "PNEUMONIA"
    ]["ece"]
    assert 0 <= entry["low"] < entry["value"] < entry["high"] < 0.1


def test_masking_is_the_same_as_dropping_the_images_of_that_label():
    targets, probabilities = some_images()
    patients = np.arange(len(targets)) // 2
    got = score(targets, probabilities, TWO, [0.5, 0.3], patients, resamples=0)
    for i, (name, threshold) in enumerate(zip(TWO.outputs, [0.5, 0.3], strict=True)):
        known = ~np.isnan(targets[:, i])
        alone = LabelSpace(("none", name), "binary")
        one = score(
            targets[known, i : i + 1], probabilities[known, i : i + 1], alone, [threshold], patients[known], resamples=0
        )
        assert one["labels"][name] == got["labels"][name]
    known = ~np.isnan(targets)
    right = (probabilities >= [0.5, 0.3])[known] == (targets[known] == 1)
    assert got["accuracy"]["value"] == pytest.approx(right.mean())


def test_the_decisions_of_exclusive_classes_are_those_of_argmax():
    targets, probabilities = some_classes()
    got = score(targets, probabilities, THREE, [0.9, 0.1, 0.5], range(60), resamples=50)
    named, decided = targets.argmax(axis=1), probabilities.argmax(axis=1)
    assert got["accuracy"]["value"] == pytest.approx(sk.accuracy_score(named, decided))
    assert got["accuracy"]["low"] < got["accuracy"]["value"] < got["accuracy"]["high"]
    for k, name in enumerate(THREE.outputs):
        entry = got["labels"][name]
        assert entry["f1"]["value"] == pytest.approx(sk.f1_score(named == k, decided == k))
        # a class's own row is that class against the rest
        assert entry["balanced_accuracy"]["value"] == pytest.approx(
            sk.balanced_accuracy_score(named == k, decided == k)
        )
        assert entry["threshold"] is None
    assert got["matrix"] == sk.confusion_matrix(named, decided).tolist()


def test_the_balanced_accuracy_of_classes_is_the_mean_recall_and_a_guess_is_a_third():
    random = np.random.default_rng(4)
    named = random.integers(0, 3, 600)
    guesses = random.dirichlet(np.ones(3), 600).astype(np.float32)
    got = score(np.eye(3)[named], guesses, THREE, [0.3, 0.3, 0.3], range(600), resamples=200)
    entry = got["macro"]["balanced_accuracy"]
    assert entry["value"] == pytest.approx(sk.balanced_accuracy_score(named, guesses.argmax(axis=1)))
    assert entry["low"] < 1 / 3 < entry["high"] < 0.45
    epoch = epoch_metrics(np.eye(3)[named], guesses, "multiclass")
    assert (epoch["balanced_accuracy"], epoch["auc"], epoch["f1"]) == pytest.approx(
        tuple(got["macro"][name]["value"] for name in ("balanced_accuracy", "auc", "f1")), abs=1e-12
    )


def test_every_metric_has_an_interval_around_it_and_goes_through_json():
    got = score(*some_images(200), TWO, [0.5, 0.3], np.arange(200) // 2, resamples=200)
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    for metrics in (got["macro"], got["micro"], *got["labels"].values()):
        for name in METRICS:
            assert set(metrics[name]) == INTERVAL_KEYS
            assert 0 <= metrics[name]["low"] < metrics[name]["value"] < metrics[name]["high"] <= 1


def test_the_seed_decides_the_interval():
    first, again, other = (score(*some_images(), TWO, [0.5, 0.5], range(60), resamples=50, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first["macro"]["auc"]["value"] == other["macro"]["auc"]["value"]
    assert first["macro"]["auc"]["low"] != other["macro"]["auc"]["low"]


def test_copies_of_an_image_do_not_narrow_the_interval_of_their_patient():
    targets, probabilities = (np.repeat(array, 6, axis=0) for array in some_images(80, labels=1, unknown=0))
    by_patient = score(targets, probabilities, BINARY, [0.4], np.arange(480) // 6, resamples=300)
    by_image = score(targets, probabilities, BINARY, [0.4], np.arange(480), resamples=300)
    for name in METRICS:
        wide, narrow = (got["macro"][name]["high"] - got["macro"][name]["low"] for got in (by_patient, by_image))
        assert wide > 1.8 * narrow


@pytest.mark.parametrize("answer", [0, 1, NAN])
def test_a_label_with_one_answer_gives_none_and_no_warning(answer):
    targets, probabilities = some_images(unknown=0)
    targets[:, 1] = answer
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = score(targets, probabilities, TWO, [0.3, 0.9], range(60), resamples=20)
    entry = got["labels"]["Nodule"]
    for name in ("auc", "average_precision", "balanced_accuracy"):
        assert entry[name] == {"value": None, "low": None, "high": None}
        assert got["macro"][name] == got["labels"]["Mass"][name]
    json.dumps(got, allow_nan=False)


def test_one_patient_gives_no_interval():
    got = score(*some_images(), TWO, [0.5, 0.5], ["p"] * 60, resamples=20)
    assert got["patients"] == 1
    assert got["macro"]["auc"]["value"] is not None and got["macro"]["auc"]["low"] is None


# --- what cannot be scored


@pytest.mark.parametrize(
    ("targets", "probabilities", "message"),
    [
        (np.zeros((0, 1)), np.zeros((0, 1)), "no images"),
        (np.zeros((3, 1)), np.zeros((2, 1)), r"\(3, 1\).*\(2, 1\)"),
        (np.zeros(3), np.zeros(3), r"\(images, labels\)"),
        (column(0, 1, 1), column(NAN, 1.5, -0.1), "of 3 probabilities 1 are NaN and 2 are outside"),
        (column(0, 2, 0.5), column(0, 0, 0), "2 of 3 targets are not 0, 1 or NaN.*first is 2"),
    ],
)
def test_arrays_that_cannot_be_scored(targets, probabilities, message):
    with pytest.raises(ThoraxError, match=message) as raised:
        score(targets, probabilities, BINARY, [0.5], ["p"] * len(targets))
    assert "\n" not in str(raised.value)
    with pytest.raises(ThoraxError, match=message):
        epoch_metrics(targets, probabilities, "binary")


def test_a_multiclass_image_has_one_class():
    with pytest.raises(ThoraxError, match="1 of 2 multiclass images"):
        epoch_metrics(np.array([[1, 1, 0], [0, 0, 1]]), np.full((2, 3), 0.3), "multiclass")


def test_counts_that_do_not_fit():
    targets, probabilities = some_images()
    with pytest.raises(ThoraxError, match="2 columns for 1 labels"):
        score(targets, probabilities, BINARY, [0.5], range(60))
    for thresholds in ([0.5], [0.5, NAN]):
        with pytest.raises(ThoraxError, match="thresholds="):
            score(targets, probabilities, TWO, thresholds, range(60))
    with pytest.raises(ThoraxError, match="59 patients for 60 images"):
        score(targets, probabilities, TWO, [0.5, 0.5], range(59))
