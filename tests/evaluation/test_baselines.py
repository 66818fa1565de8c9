"""Scores of models that never look at an image, against scikit-learn's dummies."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from thorax.evaluation.baselines import baselines
from thorax.evaluation.metrics import score
from thorax.labels import LabelSpace

BINARY = LabelSpace(("NORMAL", "PNEUMONIA"), "binary")
THREE = LabelSpace(("bacterial", "normal", "viral"), "multiclass")
LABELS = LabelSpace(("Mass", "Edema", "Hernia"), "multilabel")


def scored(targets: np.ndarray, space: LabelSpace) -> dict:
    p = np.random.default_rng(0).dirichlet(np.ones(3), len(targets))[:, : targets.shape[1]]
    return score(targets, p, space, [0.5] * targets.shape[1], range(len(targets)), resamples=0)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_two_classes_are_as_scikit_learns_dummy_has_them(share):
    y = (np.arange(100) < 100 * share).astype(float)
    found = baselines(scored(y[:, None], BINARY), BINARY)
    dummy = DummyClassifier(strategy="most_frequent").fit(y[:, None], y)
    called = dummy.predict(y[:, None])
    label = found["majority"]["labels"]["PNEUMONIA"]
    assert found["majority"]["accuracy"] == pytest.approx(accuracy_score(y, called))
    assert label["auc"] == roc_auc_score(y, called) == 0.5
    assert label["average_precision"] == pytest.approx(average_precision_score(y, called))
    assert label["sensitivity"] == recall_score(y, called)
    assert label["balanced_accuracy"] == balanced_accuracy_score(y, called)
    assert label["f1"] == pytest.approx(f1_score(y, called))
    assert label["brier"] == pytest.approx(brier_score_loss(y, called))
    assert (label["ppv"] is None) == (share < 0.5)  # nothing is called positive
    if share > 0.5:
        assert label["ppv"] == pytest.approx(precision_score(y, called))


def test_random_answers_are_the_mean_of_many_draws():
    y = (np.arange(20_000) < 6_000).astype(float)
    found = baselines(scored(y[:, None], BINARY), BINARY)["random"]
    called = DummyClassifier(strategy="stratified", random_state=0).fit(y[:, None], y).predict(y[:, None])
    label = found["labels"]["PNEUMONIA"]
    assert found["accuracy"] == pytest.approx(accuracy_score(y, called), abs=0.01) == pytest.approx(0.58, abs=0.01)
    assert label["sensitivity"] == pytest.approx(recall_score(y, called), abs=0.01)
    assert label["ppv"] == pytest.approx(precision_score(y, called), abs=0.01)
    assert label["brier"] == pytest.approx(brier_score_loss(y, called), abs=0.01)


def test_exclusive_classes_have_one_majority_answer():
    classes = np.repeat([0, 1, 2], [20, 50, 30])
    found = baselines(scored(np.eye(3)[classes], THREE), THREE)
    assert found["majority"]["answer"] == "normal" and found["majority"]["accuracy"] == 0.5
    assert found["majority"]["macro"]["balanced_accuracy"] == pytest.approx(1 / 3)
    assert found["random"]["accuracy"] == pytest.approx(0.2**2 + 0.5**2 + 0.3**2)
    assert found["random"]["macro"]["balanced_accuracy"] == pytest.approx(1 / 3)


def test_labels_with_unknown_images_and_labels_of_one_answer():
    y = np.array([[1, 0, 0], [1, 0, np.nan], [0, 0, np.nan], [1, 1, np.nan]], float)
    found = baselines(scored(y, LABELS), LABELS)["majority"]
    assert found["accuracy"] == pytest.approx((3 + 3 + 1) / 9)
    assert found["labels"]["Hernia"]["auc"] is None and found["macro"]["auc"] == 0.5
    nothing = np.full((4, 3), np.nan)
    nothing[0, 0] = 1
    assert baselines(scored(nothing, LABELS), LABELS)["majority"]["labels"]["Edema"]["brier"] is None
