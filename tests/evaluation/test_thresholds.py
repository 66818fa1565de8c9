"""Threshold rules: what each promises on the validation images, the same decisions with and without calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from thorax.evaluation.calibration import Calibration
from thorax.evaluation.thresholds import ThresholdRule, choose

RULES = [
    ThresholdRule(),
    ThresholdRule("youden"),
    ThresholdRule("sensitivity", target=0.9),
    ThresholdRule("cost", ratio=4),
]


@st.composite
def validation(draw):
    """One label with both answers: targets (N, 1) and logits (N, 1), many of them equal."""
    n = draw(st.integers(2, 40))
    targets = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n).filter(lambda y: len(set(y)) == 2))
    logits = draw(st.lists(st.one_of(st.integers(-4, 4).map(float), st.floats(-6, 6)), min_size=n, max_size=n))
    return np.array(targets)[:, None], np.array(logits).round(3)[:, None]


#: Of three exclusive classes.
SHARED = Calibration(np.full(3, 1.5), np.array([0.0, 0.5, -0.5]))


def cut(targets, z, rule, temperature=1.0, bias=0.0):
    """The threshold, and which images are called positive at it."""
    calibration = Calibration(np.array([temperature]), np.array([bias]))
    (threshold,) = choose(targets, [z], "binary", calibration, rule)
    return threshold, calibration.probabilities(z, "binary")[:, 0] >= np.float64(threshold)


@given(validation(), st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_sensitivity_is_reached_by_the_highest_cut(images, target):
    targets, z = images
    _, called = cut(targets, z, ThresholdRule("sensitivity", target=target))
    positive = targets[:, 0] == 1
    assert called[positive].mean() >= target - 1e-9
    lowest = z[called].min()
    assert (z[positive] > lowest).sum() < target * positive.sum()  # one step higher would miss too many


@given(validation(), st.floats(0.1, 10))
@settings(max_examples=60, deadline=None)
def test_youden_and_cost_are_the_best_of_all_cuts(images, ratio):
    targets, z = images
    y = targets[:, 0] == 1
    every = [z[:, 0] >= at for at in (*np.unique(z), np.inf)]
    _, called = cut(targets, z, ThresholdRule("youden"))
    false, true, _ = roc_curve(y, z[:, 0], drop_intermediate=False)
    assert called[y].mean() - called[~y].mean() == pytest.approx((true - false).max())
    _, called = cut(targets, z, ThresholdRule("cost", ratio=ratio))
    cost = [(d & ~y).sum() + ratio * (~d & y).sum() for d in (called, *every)]
    assert cost[0] == pytest.approx(min(cost[1:]))


def test_by_hand():
    targets, z = np.array([[0.0], [0], [1], [0], [1], [1]]), np.array([[-3.0], [-1], [0], [1], [2], [4]])
    half = {
        rule: float(np.log(t / (1 - t)))
        for rule in ("youden", "sensitivity", "cost")
        if (t := cut(targets, z, ThresholdRule(rule, 0.6, 0.1))[0])
    }
    # Youden: both 0.5 above (1 and 2) and below 0 give 2/3; the higher cut is taken. Two of three found: the same one.
    # Misses are cheap: none below 2.
    assert half == pytest.approx({"youden": 1.5, "sensitivity": 1.5, "cost": 1.5}, abs=1e-5)
    assert cut(targets, z, ThresholdRule("sensitivity", target=1.0))[0] == pytest.approx(1 / (1 + np.exp(0.5)))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize(("temperature", "bias"), [(0.3, 0.0), (2.5, 0.0), (1.0, 2.5), (0.4, -3.0), (3.0, 1.0)])
def test_calibration_changes_no_decision(rule, temperature, bias):
    random = np.random.default_rng(3)
    targets = (random.random((200, 1)) < 0.3).astype(float)
    z = random.normal(1.5 * targets, 1.5)
    plain, calibrated = (cut(targets, z, rule, *c) for c in ((1.0, 0.0), (temperature, bias)))
    np.testing.assert_array_equal(calibrated[1], plain[1])
    assert calibrated[0] != plain[0] and 0 < plain[1].sum() < 200


def test_the_balanced_rule_sees_the_views_and_the_others_the_images_as_served():
    random = np.random.default_rng(4)
    targets = (random.random((100, 1)) < 0.5).astype(float)
    z, view = random.normal(targets, 1), random.normal(targets - 2, 1)
    for rule in RULES:
        alone, both = (choose(targets, views, "binary", Calibration.none(1), rule) for views in ([z], [z, view]))
        assert (alone != both).all() if rule.name == "balanced" else (alone == both).all()


def test_exclusive_classes_are_cut_on_the_odds_against_the_rest():
    """A logit alone says nothing of a softmax: every image's logits may be moved together."""
    random = np.random.default_rng(5)
    named = random.integers(0, 3, 300)
    z = random.normal(0, 1, (300, 3)) + 2.5 * np.eye(3)[named]
    moved = z + random.normal(0, 20, (300, 1))
    for rule in RULES:
        one, other = (choose(np.eye(3)[named], [logits], "multiclass", SHARED, rule) for logits in (z, moved))
        assert one == pytest.approx(other, rel=1e-4)
    called = SHARED.probabilities(z, "multiclass") >= choose(
        np.eye(3)[named], [z], "multiclass", SHARED, ThresholdRule("sensitivity", 0.9)
    )
    assert all(0.9 <= called[named == k, k].mean() < 0.92 for k in range(3))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("answer", [0.0, 1.0, np.nan])
def test_a_label_with_one_answer_is_cut_at_one_half(rule, answer):
    targets = np.array([[0.0, answer], [1, answer], [0, answer], [np.nan, np.nan]])
    z = np.array([[0.0, 1], [2, 3], [np.nan, 1], [9, 9]])
    chosen = choose(targets, [z], "multilabel", Calibration.none(2), rule)
    assert chosen[1] == 0.5 and 0.5 <= chosen[0] <= 1 / (1 + np.exp(-2))


def test_a_rule_says_what_it_is():
    assert [str(rule) for rule in RULES] == [
        "balanced: equal weight to sensitivity and specificity",
        "Youden: the highest sum of sensitivity and specificity",
        "a sensitivity of at least 0.9",
        "the lowest cost, a missed positive costing as much as 4 false alarms",
    ]


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (2.5, -1.0)])
def test_the_rule_loss_is_logit_zero_whatever_the_calibration(temperature, bias):
    z = np.array([[-3.0], [-0.01], [0.01], [2.0], [4.0]])
    targets = np.array([[0.0], [0], [0], [1], [1]])
    threshold, called = cut(targets, z, ThresholdRule("loss"), temperature, bias)
    assert called.tolist() == [False, False, True, True, True]
    assert threshold == pytest.approx(1 / (1 + np.exp(-bias)))
