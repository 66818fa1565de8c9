"""The learning rate as a function of progress."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thorax.config import TrainingConfig
from thorax.config.schema import Optimisation
from thorax.training.schedules import SCHEDULES, plateau_factor, rate


def config(**values) -> TrainingConfig:
    return TrainingConfig(**{"learning_rate": 0.1, "epochs": 10, "warmup_epochs": 0.0, **values})


# --- the rate


@pytest.mark.parametrize(("progress", "want"), [(0, 0.1), (2.5, 0.0853553), (5, 0.05), (7.5, 0.0146447), (10, 0.0)])
def test_cosine(progress, want):
    assert rate(config(lr_scheduler="cosine"), progress) == pytest.approx(want, abs=1e-7)


@pytest.mark.parametrize(("progress", "want"), [(0, 0.001), (1, 0.0505), (2, 0.1), (6, 0.05), (10, 0.0)])
def test_cosine_with_warm_up(progress, want):
    assert rate(config(lr_scheduler="cosine", warmup_epochs=2.0), progress) == pytest.approx(want, abs=1e-7)


@pytest.mark.parametrize(("progress", "want"), [(0, 0.1), (2.99, 0.1), (3, 0.02), (6.5, 0.02), (7, 0.004), (10, 0.004)])
def test_steps(progress, want):
    steps = config(lr_scheduler_step=(3, 7), lr_scheduler_factor=0.2)
    assert steps.resolved_scheduler == "step"
    assert rate(steps, progress) == pytest.approx(want)


@pytest.mark.parametrize(("progress", "want"), [(0, 0.001), (0.25, 0.0505), (0.5, 0.1), (9.99, 0.1)])
def test_constant_after_half_an_epoch_of_warm_up(progress, want):
    assert rate(config(lr_scheduler="constant", warmup_epochs=0.5), progress) == pytest.approx(want)


def test_warm_up_takes_half_of_a_short_run_at_most():
    short = config(epochs=1, warmup_epochs=1.0)
    assert rate(short, 0.5) == pytest.approx(0.1)
    assert rate(short, 1.0) == pytest.approx(0.0)


@given(
    epochs=st.integers(1, 50),
    warm=st.floats(0, 5),
    kind=st.sampled_from(["cosine", "constant"]),
    share=st.floats(0, 1),
    peak=st.floats(1e-6, 1),
)
def test_the_rate_stays_between_nothing_and_the_peak(epochs, warm, kind, share, peak):
    c = config(epochs=epochs, warmup_epochs=min(warm, epochs * 0.9), lr_scheduler=kind, learning_rate=peak)
    assert 0 <= rate(c, share * epochs) <= peak * (1 + 1e-12)


@given(warm=st.floats(0.1, 4), kind=st.sampled_from(["cosine", "constant"]))
def test_the_rate_does_not_jump_where_warm_up_ends(warm, kind):
    c = config(warmup_epochs=warm, lr_scheduler=kind)
    assert rate(c, warm - 1e-6) == pytest.approx(rate(c, warm), abs=1e-5)


def test_the_configuration_names_each_entry():
    choices = Optimisation.__dataclass_fields__["lr_scheduler"].metadata["about"].choices
    assert [*choices] == ["auto", *SCHEDULES]


@settings(max_examples=40, deadline=None)
@given(
    losses=st.lists(st.sampled_from([0.3, 0.4, 0.5, 0.6]), max_size=20),
    patience=st.integers(0, 3),
    factor=st.sampled_from([0.1, 0.5]),
)
def test_the_plateau_is_that_of_torch(losses, patience, factor):
    net = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience, threshold=0.0, eps=0.0
    )
    ours = config(lr_scheduler="plateau", lr_scheduler_patience=patience, lr_scheduler_factor=factor)
    for k, loss in enumerate(losses, 1):
        theirs.step(loss)
        assert plateau_factor(ours, losses[:k]) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert plateau_factor(config(lr_scheduler="constant"), losses) == 1


def test_a_loss_that_is_no_number_is_no_lower_one():
    ours = config(lr_scheduler="plateau", lr_scheduler_patience=0)
    assert plateau_factor(ours, [0.5, float("nan"), 0.4, 0.4]) == pytest.approx(0.01)
