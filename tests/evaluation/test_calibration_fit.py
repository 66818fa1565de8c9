"""How calibration is found: by each method, by cross-validation over patients, and as scikit-learn finds it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

import images
from thorax.evaluation.calibration import Calibration
from thorax.evaluation.calibration_fit import METHODS, Measured, choose
from thorax.evaluation.calibration_fit import fit as fit_calibration
from thorax.evaluation.metrics import score
from thorax.labels import LabelSpace


def measured(targets, logits, task, patients=None, prior=None):
    patients = [str(n) for n in range(len(targets))] if patients is None else patients
    return Measured(targets, logits, task, patients, np.zeros(targets.shape[1]) if prior is None else np.array(prior))


def fit(targets, logits, task):
    return fit_calibration("temperature", measured(targets, logits, task)).temperatures


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
    p = fit_calibration("temperature", measured(targets, z, "binary")).probabilities(z, "binary")
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
    found = fit_calibration("temperature", measured(targets, z, "binary"))
    before, after = (c.probabilities(z, "binary") for c in (Calibration.none(1), found))
    scores = [score(targets, p, space, [0.5], range(1500), resamples=0)["macro"] for p in (before, after)]
    assert scores[1]["ece"]["value"] < 0.5 * scores[0]["ece"]["value"]
    assert scores[1]["brier"]["value"] < scores[0]["brier"]["value"]
    assert scores[1]["auc"]["value"] == pytest.approx(
        scores[0]["auc"]["value"], abs=1e-4
    )  # 1 in float32 is reached sooner before
    assert scores[1]["sensitivity"] == scores[0]["sensitivity"]


# --- bias, Platt, prior


class Answers(ClassifierMixin, BaseEstimator):
    """A classifier whose logit is the image itself."""

    classes_ = np.array([0, 1])

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, x, y):
        return self

    def decision_function(self, x):
        return x[:, 0]

    def predict(self, x):
        return (x[:, 0] > 0).astype(int)


def test_platt_is_that_of_scikit_learn():
    targets, z = overconfident(600, (3.0,), seed=4)
    z = z + 2.5
    oracle = CalibratedClassifierCV(FrozenEstimator(Answers()), method="sigmoid", ensemble=False)
    want = oracle.fit(z, targets[:, 0]).predict_proba(z)[:, 1]
    found = fit_calibration("platt", measured(targets, z, "binary"))
    np.testing.assert_allclose(found.probabilities(z, "binary")[:, 0], want, atol=2e-4)


def test_the_bias_is_that_of_a_logistic_regression_with_the_logit_as_its_offset():
    targets, z = overconfident(800, (1.0,), seed=5)
    z = z - 1.7
    y, (positives, negatives) = targets[:, 0], (targets.sum(), (1 - targets).sum())
    (bias,) = fit_calibration("bias", measured(targets, z, "binary")).biases
    p = 1 / (1 + np.exp(-(z[:, 0] + bias)))  # at the optimum the mean answer is the mean of Platt's targets
    smooth = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    assert p.mean() == pytest.approx(smooth.mean(), abs=1e-5) and bias == pytest.approx(1.7, abs=0.2)


def test_exclusive_classes_have_a_bias_each_as_in_a_multinomial_regression():
    random = np.random.default_rng(7)
    z = random.normal(0, 2, (6000, 3))
    truth = z + np.array([0.0, 1.5, -1.0])
    cumulated = np.cumsum(np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True), axis=1)
    targets = np.eye(3)[(random.random((6000, 1)) > cumulated).sum(axis=1)]
    found = fit_calibration("platt", measured(targets, 2 * z, "multiclass"))
    assert found.temperatures == pytest.approx([2.0] * 3, rel=0.06)
    assert found.biases - found.biases[0] == pytest.approx([0, 1.5, -1.0], abs=0.12)
    p = found.probabilities(2 * z, "multiclass")
    assert p.mean(axis=0) == pytest.approx(targets.mean(axis=0), abs=1e-3)
    free = LogisticRegression(C=1e6).fit(2 * z, targets.argmax(axis=1)).predict_proba(2 * z)
    assert log_loss(targets, p) < log_loss(targets, free) + 2e-3


def test_a_network_that_answers_the_wrong_way_round_is_not_turned():
    targets, z = overconfident(400, (1.0,))
    found = fit_calibration("platt", measured(targets, -z, "binary"))
    p = found.probabilities(np.array([[-2.0], [2.0]]), "binary")
    assert found.temperatures[0] > 0 and p[0, 0] < p[1, 0]


@pytest.mark.parametrize("method", METHODS)
def test_a_label_with_one_answer_or_none_stays_as_it_is_by_every_method(method):
    targets, z = overconfident(60)
    for answer in (0.0, 1.0, np.nan):
        targets[:, 1] = answer
        found = fit_calibration(method, measured(targets, z, "multilabel"))
        assert (found.temperatures[1], found.biases[1]) == (1, 0)


# --- The choice


def leaning(images=3000, shift=2.0, temperature=1.0, seed=0, people=None):
    """Answers that are `shift` too high, of patients with several images."""
    random = np.random.default_rng(seed)
    z = random.normal(-1, 2, (images, 1))
    targets = (random.random(z.shape) < 1 / (1 + np.exp(-z))).astype(np.float32)
    return targets, z * temperature + shift, [f"p{n}" for n in random.integers(0, people or images // 3, images)]


@pytest.mark.parametrize(
    ("shift", "temperature", "method"),
    [(0.0, 3.0, "temperature"), (2.0, 1.0, "bias"), (2.0, 3.0, "platt"), (0.0, 1.0, "none")],
)
def test_the_method_that_fits_is_chosen_and_the_error_falls(shift, temperature, method):
    targets, z, patients = leaning(6000, shift, temperature)
    chosen = choose("auto", measured(targets, z, "binary", patients))
    losses = chosen.losses[0]
    assert set(losses) == {"none", "temperature", "bias", "platt"}  # without class weights prior is none
    assert losses[chosen.calibration.methods[0]] == min(losses.values())
    assert losses[method] == pytest.approx(min(losses.values()), abs=1e-3)
    (before, after) = chosen.errors[0]
    assert after < 0.03 and (method == "none" or before > 0.05)


def test_the_errors_told_are_those_of_other_patients():
    """Answers without any information: a fit on the same images would find some."""
    random = np.random.default_rng(3)
    targets = (random.random((60, 1)) < 0.5).astype(np.float32)
    z = random.normal(0, 4, (60, 1))
    chosen = choose("platt", measured(targets, z, "binary", [f"p{n // 2}" for n in range(60)]))
    p = chosen.calibration.probabilities(z, "binary")
    inside = score(targets, p, images.BINARY, [0.5], range(60), resamples=0)["macro"]["ece"]["value"]
    assert chosen.errors[0][1] > inside


def test_images_of_a_patient_are_never_on_both_sides():
    """One patient with half of the images: his fold has them all, whatever is fitted on the others."""
    targets, z, _ = leaning(200)
    patients = ["big"] * 100 + [f"p{n}" for n in range(100)]
    targets[:100], z[:100] = 1, -3.0
    chosen = choose("bias", measured(targets, z, "binary", patients))
    others = fit_calibration("bias", measured(targets[100:], z[100:], "binary"))
    # Without the one patient the others' fit leaves his answers near 0: the held-out error is large.
    assert chosen.errors[0][1] > 0.3 and others.biases[0] < 0 < chosen.calibration.biases[0]


def test_labels_choose_for_themselves_and_scarce_ones_get_a_temperature():
    space = LabelSpace(("Effusion", "Mass", "Nodule"), "multilabel")
    columns = [leaning(4000, 2.0, 1.0), leaning(4000, 0.0, 4.0, seed=1), leaning(4000, 3.0, 2.0, seed=2)]
    targets, z = (np.concatenate([c[k] for c in columns], axis=1) for k in (0, 1))
    targets[:, 2] = 0
    targets[:4, 2] = 1
    targets[5:900, 0] = np.nan
    chosen = choose("auto", measured(targets, z, "multilabel", columns[0][2]))
    assert chosen.calibration.methods[0] == "bias" and chosen.calibration.methods[1] in ("temperature", "platt")
    assert chosen.calibration.methods[2] == "temperature"
    told = chosen.described(space)
    assert told["Mass"]["ece"] < 0.03 < told["Mass"]["ece_before"] and list(told) == list(space.outputs)


def test_exclusive_classes_keep_their_decisions_unless_a_bias_is_asked_for():
    random = np.random.default_rng(9)
    targets = np.eye(3)[random.integers(0, 3, 300)]
    z = random.normal(2 * targets, 1) + np.array([2.0, 0, 0])
    auto, platt = (choose(rule, measured(targets, z, "multiclass")) for rule in ("auto", "platt"))
    assert auto.calibration.methods == ("temperature",) * 3 and not auto.calibration.biases.any()
    assert (auto.calibration.logits(z).argmax(axis=1) == z.argmax(axis=1)).all()
    assert platt.errors[0][1] < auto.errors[0][1]


def test_the_prior_takes_the_shift_of_class_weights_back_out():
    targets, z, patients = leaning(6000, np.log(5.0))
    chosen = choose("auto", measured(targets, z, "binary", patients, prior=[np.log(5.0)]))
    assert chosen.calibration.methods == ("prior",) and chosen.calibration.biases == pytest.approx([-np.log(5.0)])
    assert choose("prior", measured(targets, z, "binary", patients)).calibration.biases.tolist() == [0]


def test_an_infinite_logit_leaves_answers_as_they_are():
    targets, z, patients = leaning(100)
    z[3] = np.inf
    chosen = choose("auto", measured(targets, z, "binary", patients))
    assert chosen.calibration.methods == ("none",) and not chosen.calibration.changes


def test_images_that_could_not_be_read_are_left_out():
    targets, z, patients = leaning(400)
    want = choose("auto", measured(targets, z, "binary", patients))
    more = [np.concatenate([a, b]) for a, b in ((targets, np.ones((9, 1))), (z, np.full((9, 1), np.nan)))]
    found = choose("platt", measured(*more, "binary", [*patients, *"abcdefghi"]))
    np.testing.assert_allclose(
        found.calibration.biases, choose("platt", measured(targets, z, "binary", patients)).calibration.biases
    )
    assert np.isfinite(found.errors[0]).all() and want.calibration.methods[0] in METHODS


def test_few_patients_choose_between_none_and_one_temperature():
    random = np.random.default_rng(5)
    found = set()
    for _ in range(12):
        targets = (random.random((16, 1)) < 0.5).astype(np.float32)
        z = random.normal(0, 0.1, (16, 1)) + random.choice([0.0, 3.0]) * (targets - 0.5)
        chosen = choose("auto", measured(targets, z, "binary", [f"p{n // 4}" for n in range(16)]))
        (losses,), (method,) = chosen.losses, chosen.calibration.methods
        assert method == min(("none", "temperature"), key=losses.get)  # the others would need more patients
        found.add(method)
    assert found == {"none", "temperature"}
