"""Folds by patient: each image in one, nobody in two, labels in proportion; what they leave, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

import images
from thorax.config import TrainingConfig
from thorax.data.folds import fold_parts, pooled
from thorax.data.held_out import FILE, HeldOut, joined
from thorax.data.splits import patient_folds
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace


def drawn(seed: int, count: int = 400, labels: int = 1, people: int = 120) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    rates = np.linspace(0.05, 0.4, labels) if labels > 1 else np.array([0.25])
    targets = (rng.random((count, labels)) < rates).astype(np.float32)
    return targets, [f"p{n}" for n in rng.integers(0, people, count)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), folds=st.integers(2, 10), labels=st.sampled_from([1, 5, 14]))
def test_every_image_is_in_one_fold_with_all_of_its_patient(seed, folds, labels):
    targets, patients = drawn(seed, labels=labels)
    fold_of = patient_folds(targets, patients, folds, seed)
    assert fold_of.shape == (400,) and set(fold_of) == set(range(folds))
    homes = {}
    for patient, fold in zip(patients, fold_of, strict=True):
        assert homes.setdefault(patient, fold) == fold


@pytest.mark.parametrize("seed", range(4))
def test_folds_are_as_even_as_those_of_scikit_learn(seed):
    targets, patients = drawn(seed)
    both = np.concatenate([1 - targets, targets], axis=1)

    def uneven(fold_of):
        return np.std([both[fold_of == fold].sum(axis=0) for fold in range(5)], axis=0).max()

    theirs = np.zeros(400, int)
    split = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(targets, targets[:, 0], patients)
    for fold, (_, rows) in enumerate(split):
        theirs[rows] = fold
    assert uneven(patient_folds(both, patients, 5, seed)) <= max(1.5 * uneven(theirs), 3)


def test_rare_labels_of_many_are_in_every_fold():
    targets, patients = drawn(1, 2000, labels=14, people=700)
    fold_of = patient_folds(targets, patients, 5, 0)
    share = np.stack([targets[fold_of == fold].sum(axis=0) for fold in range(5)]) / targets.sum(axis=0)
    assert share.min() > 0.13 and share.max() < 0.27


def test_the_order_of_the_images_changes_nothing():
    targets, patients = drawn(5)
    order = np.random.default_rng(0).permutation(400)
    one = patient_folds(targets, patients, 5, 7)
    other = patient_folds(targets[order], [patients[k] for k in order], 5, 7)
    np.testing.assert_array_equal(one[order], other)


def fold(number: int, folds: int = 3, **settings: object) -> TrainingConfig:
    return TrainingConfig.of({"network": "cnn5", "folds": folds, "fold": number, **settings})


def test_a_run_trains_on_the_other_folds_and_leaves_test_alone():
    targets, patients = drawn(3, 90, people=40)
    whole = {
        "train": images.sample_set(targets, patients, images.BINARY),
        "test": images.sample_set(targets[:5], [f"t{n}" for n in range(5)], images.BINARY),
    }
    seen, said = [], []
    for number in range(3):
        parts = fold_parts(whole, fold(number), said.append)
        assert set(parts) == {"train", "validation"}
        assert not set(parts["train"].patients) & set(parts["validation"].patients)
        assert sorted(parts["train"].ids + parts["validation"].ids) == sorted(whole["train"].ids)
        seen += parts["validation"].ids
    assert sorted(seen) == sorted(whole["train"].ids)
    assert said[0] == "fold 0 of 3: 5 images of test are left for the final bundle"


def test_fewer_patients_than_folds_are_refused_by_class():
    targets = np.array([[1.0]] * 2 + [[0.0]] * 20)
    whole = {"train": images.sample_set(targets, [f"p{n}" for n in range(22)], images.BINARY)}
    with pytest.raises(ThoraxError, match="folds=3 but train has images of class PNEUMONIA of 2 patients only"):
        fold_parts(whole, fold(0), print)


def test_marks_of_a_channel_keep_test_alone():
    assert pooled(["train", "validation", "test"]) == ["train", "train", "test"]


@pytest.mark.parametrize(
    "settings", [{"folds": 5}, {"fold": 0}, {"folds": 3, "fold": 3}], ids=["no fold", "no folds", "beyond"]
)
def test_a_fold_needs_both_numbers(settings):
    with pytest.raises(ThoraxError, match="one run holds one fold out, from 0 to folds - 1"):
        TrainingConfig.of({"network": "cnn5", **settings})


# --- what folds leave

SPACE = LabelSpace(("Effusion", "Mass"), "multilabel")


def left(number: int, rows: int = 4, count: int = 2, epoch: int = 3) -> HeldOut:
    rng = np.random.default_rng(number)
    return HeldOut(
        space=SPACE,
        ids=[f"{number}/\udcff{k}.png" for k in range(rows)],  # a name that is no UTF-8
        patients=[f"p{number}{k}" for k in range(rows)],
        folds=np.full(rows, number),
        targets=np.where(rng.random((rows, 2)) < 0.2, np.nan, 1.0),
        logits=rng.normal(size=(rows, 2)).astype(np.float32),
        augmented=rng.normal(size=(1, rows, 2)).astype(np.float32),
        count=count,
        best_epochs={number: epoch},
        prior=np.array([float(number), 0.0]),
    )


def test_answers_are_written_read_joined_and_put_in_order(tmp_path):
    for number in (0, 1):
        (tmp_path / str(number)).mkdir()
        left(number, epoch=3 + number).write(tmp_path / str(number))
    whole = joined([HeldOut.read(tmp_path / str(number)) for number in (1, 0)])
    assert whole.ids == left(0).ids + left(1).ids and whole.folds.tolist() == [0] * 4 + [1] * 4
    assert whole.best_epochs == {0: 3, 1: 4} and whole.epochs == 4  # 3.5
    assert whole.prior.tolist() == [0.5, 0.0]
    table = images.sample_set(np.zeros((8, 2)), space=SPACE)
    order = [5, 0, 7, 2, 1, 6, 3, 4]
    samples = [replace(sample, id=whole.ids[k]) for sample, k in zip(table.samples, order, strict=True)]
    again = whole.of(type(table)("train", samples, SPACE))
    np.testing.assert_array_equal(again.logits, whole.logits[order])
    np.testing.assert_array_equal(again.augmented[0], whole.augmented[0][order])
    with pytest.raises(ThoraxError, match="1 image of train is in no fold and 8 images of the folds are not in train"):
        whole.of(images.sample_set(np.zeros((1, 2)), space=SPACE))


def test_folds_that_lack_or_repeat_something_are_refused(tmp_path):
    with pytest.raises(ThoraxError, match="the folds are 0, not 0 to 1, each once"):
        joined([left(0)])
    with pytest.raises(ThoraxError, match="the folds are 0, 0, not 0 to 1"):
        joined([left(0), left(0)])
    with pytest.raises(ThoraxError, match="is held out in two folds"):
        joined([left(0), replace(left(1), ids=left(0).ids)])
    with pytest.raises(ThoraxError, match="does not exist"):
        HeldOut.read(tmp_path)
    for content in (b"", b"PK\x03\x04", b"x" * 200):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(ThoraxError, match="is damaged"):
            HeldOut.read(tmp_path)
