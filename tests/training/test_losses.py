"""Losses: golden values, agreement with torch where the same thing is meant, and what is unknown counts for nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import images
from thorax.config import TrainingConfig
from thorax.config.schema import Optimisation
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.training.losses import LOSSES, Loss, class_weights, prior_shift

NAN = float("nan")
CPU = torch.device("cpu")
THREE = LabelSpace(("bacterial", "normal", "viral"), "multiclass")


def loss(name="bce", weights=None, smoothing=0.0, gamma=2.0) -> Loss:
    return Loss(name, None if weights is None else torch.tensor(weights, dtype=torch.float32), smoothing, gamma)


def some(n=6, labels=3, seed=0, unknown=0.0, exclusive=False):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, labels, generator=generator) * 2
    if exclusive:
        return logits, F.one_hot(torch.randint(labels, (n,), generator=generator), labels).float()
    targets = (torch.rand(n, labels, generator=generator) < 0.4).float()
    targets[torch.rand(n, labels, generator=generator) < unknown] = NAN
    return logits, targets


batches = st.builds(
    some,
    n=st.integers(1, 12),
    labels=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    unknown=st.sampled_from([0.0, 0.3, 1.0]),
)


# --- class weights


def test_weights_are_n_by_n_l():
    """8 images, of which 2 have Effusion, 4 Mass, 1 Nodule (of 5 with a known label)."""
    targets = np.zeros((8, 3))
    targets[:2, 0] = targets[:4, 1] = targets[0, 2] = 1
    targets[5:, 2] = NAN
    assert class_weights(images.sample_set(targets, space=images.FINDINGS), cap=20) == {
        "Effusion": 4.0,
        "Mass": 2.0,
        "Nodule": 5.0,
    }


def test_weights_of_two_classes():
    assert class_weights(images.sample_set([1, 1, 1, 0]), cap=20) == {
        "NORMAL": 4.0,
        "PNEUMONIA": pytest.approx(4 / 3, abs=1e-6),
    }


def test_weights_are_capped_and_finite():
    rare = images.sample_set([1] + [0] * 99)
    assert class_weights(rare, cap=20)["PNEUMONIA"] == 20
    assert class_weights(rare, cap=200)["PNEUMONIA"] == 100
    assert class_weights(images.sample_set([[0, 1, NAN]] * 4, space=images.FINDINGS), cap=7) == {
        "Effusion": 4.0,
        "Mass": 1.0,
        "Nodule": 0.0,
    }


@given(positives=st.lists(st.booleans(), min_size=1, max_size=60), cap=st.floats(1, 50))
def test_weights_stay_within_the_cap(positives, cap):
    weights = class_weights(images.sample_set(np.array(positives, float)), cap)
    assert all(1 <= w <= cap + 1e-6 for w in weights.values() if w)


# --- golden


def test_bce_golden():
    got = loss().sum(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
    assert float(got) == pytest.approx(math.log(2) + math.log(1 + math.e**2), abs=1e-6)


def test_weighted_bce_golden():
    """Multi-label: a label's weight is on its positive term alone. One logit: each class has its weight."""
    logits, targets = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    assert float(loss(weights=[3.0, 7.0]).sum(logits, targets)) == pytest.approx(math.log(2) * (3 + 1))
    one = loss(weights=[1.5, 4.0])
    assert float(one.sum(torch.zeros(3, 1), torch.tensor([[1.0], [0.0], [0.0]]))) == pytest.approx(
        math.log(2) * (4 + 1.5 + 1.5)
    )


def test_focal_golden():
    """(1 - p)^2 x -log p for a positive, p^2 x -log(1 - p) for a negative; p = 0.8."""
    z = math.log(4)
    got = [float(loss("focal").sum(torch.tensor([[z]]), torch.tensor([[y]]))) for y in (1.0, 0.0)]
    assert got == pytest.approx([0.2**2 * -math.log(0.8), 0.8**2 * -math.log(0.2)], rel=1e-5)


def test_smoothed_golden():
    got = loss(smoothing=0.2).sum(torch.tensor([[1.0]]), torch.tensor([[1.0]]))
    assert float(got) == pytest.approx(0.9 * math.log(1 + math.e**-1) + 0.1 * math.log(1 + math.e), rel=1e-5)


# --- the same as torch's


@settings(max_examples=40, deadline=None)
@given(batch=batches)
def test_bce_is_torchs(batch):
    logits, targets = batch
    known = ~torch.isnan(targets)
    want = F.binary_cross_entropy_with_logits(logits[known], targets[known], reduction="sum")
    torch.testing.assert_close(loss().sum(logits, targets), want)


@settings(max_examples=40, deadline=None)
@given(batch=batches, seed=st.integers(0, 100))
def test_weighted_bce_is_torchs_pos_weight(batch, seed):
    """With labels of their own, N/N_l on the positive term is what torch calls pos_weight."""
    logits, targets = batch
    targets = torch.nan_to_num(targets)
    weights = 1 + torch.rand(logits.shape[1], generator=torch.Generator().manual_seed(seed)) * 5
    want = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="sum")
    torch.testing.assert_close(Loss("bce", weights, 0.0, 0.0).sum(logits, targets), want)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_is_torchs(smoothing):
    logits, targets = some(20, 4, exclusive=True)
    want = F.cross_entropy(logits, targets.argmax(1), label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(loss("cross_entropy", smoothing=smoothing).sum(logits, targets), want)


def test_weighted_cross_entropy_is_torchs():
    logits, targets = some(20, 3, exclusive=True)
    want = F.cross_entropy(logits, targets.argmax(1), weight=torch.tensor([1.0, 5.0, 2.0]), reduction="sum")
    torch.testing.assert_close(loss("cross_entropy", weights=[1.0, 5.0, 2.0]).sum(logits, targets), want)


@settings(max_examples=30, deadline=None)
@given(batch=batches, smoothing=st.sampled_from([0.0, 0.1]))
def test_focal_with_gamma_0_is_bce(batch, smoothing):
    torch.testing.assert_close(
        loss("focal", gamma=0.0, smoothing=smoothing).sum(*batch), loss(smoothing=smoothing).sum(*batch)
    )


def test_two_classes_are_one_logit():
    """Softmax over (0, z) and the sigmoid of z are one loss."""
    logits, targets = some(10, 1)
    two = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(
        loss().sum(logits, targets), loss("cross_entropy").sum(two, torch.cat([1 - targets, targets], 1))
    )


# --- unknown labels, parts, and gradients

KINDS = [
    ("bce", None, 3),
    ("bce", [2.0, 3.0, 4.0], 3),
    ("bce", [2.0, 5.0], 1),
    ("focal", None, 3),
    ("focal", [2.0, 3.0, 4.0], 3),
]


@pytest.mark.parametrize(("name", "weights", "labels"), KINDS)
def test_an_unknown_label_is_as_if_it_were_not_there(name, weights, labels):
    criterion = loss(name, weights, smoothing=0.1)
    logits, targets = some(8, labels, unknown=0.4)
    logits.requires_grad_()
    whole = criterion.sum(logits, targets)
    apart = sum(
        criterion.sum(
            logits[n : n + 1], torch.where(torch.arange(labels) == k, targets[n], torch.full((labels,), NAN))[None]
        )
        for n in range(8)
        for k in range(labels)
        if not torch.isnan(targets[n, k])
    )
    torch.testing.assert_close(whole, apart)
    whole.backward()
    assert (logits.grad[torch.isnan(targets)] == 0).all()
    assert (logits.grad[~torch.isnan(targets)] != 0).all()
    assert criterion.count(targets) == int((~torch.isnan(targets)).sum())


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0]])
def test_a_row_with_an_unknown_class_counts_for_nothing(weights):
    logits, targets = some(6, 3, exclusive=True)
    masked = targets.clone()
    masked[1] = NAN
    masked[4, 0] = NAN
    kept = [0, 2, 3, 5]
    criterion = loss("cross_entropy", weights)
    torch.testing.assert_close(criterion.sum(logits, masked), criterion.sum(logits[kept], targets[kept]))


@pytest.mark.parametrize(("name", "weights", "labels"), [*KINDS, ("cross_entropy", [1.0, 2.0, 3.0], 3)])
def test_sums_of_parts_add_up(name, weights, labels):
    """What makes accumulation and several processes give the loss of the whole batch."""
    criterion = loss(name, weights, smoothing=0.1)
    logits, targets = some(
        12, labels, unknown=0.0 if name == "cross_entropy" else 0.3, exclusive=name == "cross_entropy"
    )
    parts = zip(logits.split([5, 1, 6]), targets.split([5, 1, 6]), strict=True)
    together = [(criterion.sum(z, y), criterion.count(y)) for z, y in parts]
    torch.testing.assert_close(sum(s for s, _ in together), criterion.sum(logits, targets))
    assert sum(n for _, n in together) == criterion.count(targets)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", ["bce", "focal", "cross_entropy"])
def test_extreme_logits_have_finite_losses_and_gradients(name, gamma):
    logits = torch.tensor([[40.0, -40.0], [-90.0, 90.0]], requires_grad=True)
    total = sum(
        loss(name, gamma=gamma).sum(logits, torch.tensor(y))
        for y in ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]])
    )
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", ["bce", "focal", "cross_entropy"])
def test_half_precision_logits_are_summed_in_float32(name):
    logits, targets = some(4000, 3, exclusive=True)
    got = loss(name).sum(logits.bfloat16(), targets)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, loss(name).sum(logits, targets), rtol=0.01, atol=0)


def test_smoothing_can_be_left_out():
    logits, targets = some()
    torch.testing.assert_close(loss(smoothing=0.3).sum(logits, targets, smooth=False), loss().sum(logits, targets))


# --- built from the configuration


@pytest.mark.parametrize(
    ("space", "targets", "name"),
    [(images.BINARY, [0, 1], "bce"), (images.FINDINGS, np.eye(3), "bce"), (THREE, np.eye(3), "cross_entropy")],
    ids=["binary", "multilabel", "multiclass"],
)
def test_auto_follows_the_task(space, targets, name):
    built = Loss.build(TrainingConfig(label_smoothing=0.1), space, images.sample_set(targets, space=space), CPU)
    assert (built.name, built.weights, built.smoothing) == (name, None, 0.1)


def test_cross_entropy_of_two_classes_is_bce_and_of_labels_is_refused():
    built = Loss.build(TrainingConfig(loss="cross_entropy"), images.BINARY, images.sample_set([0, 1]), CPU)
    assert built.name == "bce"
    with pytest.raises(
        ThoraxError, match="loss=cross_entropy but an image may have several labels or none; set loss=bce"
    ):
        Loss.build(
            TrainingConfig(loss="cross_entropy"),
            images.FINDINGS,
            images.sample_set(np.eye(3), space=images.FINDINGS),
            CPU,
        )


def test_built_with_weights():
    built = Loss.build(
        TrainingConfig(use_weighted_loss=True, max_class_weight=3.0, loss="focal", focal_gamma=1.0),
        images.BINARY,
        images.sample_set([1, 0, 0, 0, 0]),
        CPU,
    )
    assert built.weights.tolist() == [1.25, 3.0]
    assert (built.name, built.focal_gamma) == ("focal", 1.0)


def test_the_configuration_names_each_entry():
    assert {*Optimisation.__dataclass_fields__["loss"].metadata["about"].choices} == {"auto", *LOSSES}


def test_the_prior_is_what_class_weights_and_balanced_drawing_move_the_best_answer_by():
    part = images.sample_set(np.array([[1.0]] * 30 + [[0.0]] * 10), space=images.BINARY)
    for lean in ({"use_weighted_loss": True}, {"balanced_sampler": True}):
        config = TrainingConfig.of({"network": "cnn5", **lean})
        (shift,) = prior_shift(config, part)
        assert np.log(30 / 10) + shift == pytest.approx(0, abs=1e-5)  # balanced: the best constant answer is one half
    several = images.sample_set(np.array([[1.0, 0.0, NAN]] * 10 + [[0.0, 0.0, 1.0]] * 30), space=images.FINDINGS)
    shift = prior_shift(TrainingConfig.of({"network": "cnn5", "use_weighted_loss": True, "multi_label": True}), several)
    assert shift == pytest.approx(np.log([4.0, 20.0, 1.0]), abs=1e-5)
    assert not prior_shift(TrainingConfig.of({"network": "cnn5"}), part).any()
