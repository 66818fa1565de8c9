"""The learning rate as a function of progress, and the optimiser's groups."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from thorax.config import TrainingConfig
from thorax.config.groups import NETWORKS
from thorax.models import build, freeze, stages
from thorax.training.schedules import optimizer, rate, set_rate


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


# --- the optimiser


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_is_in_one_group(name, dropout):
    with torch.device("meta"):
        net = build(name, 1, 3, dropout)
    grouped = [id(p) for group in optimizer(TrainingConfig(network=name), net).param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in net.parameters())


@pytest.mark.parametrize("name", ["resnet18", "alexnet", "cnn5"])
def test_biases_and_norms_do_not_decay(name):
    with torch.device("meta"):
        net = build(name, 1, 3)
    free = {
        id(p)
        for m in net.modules()
        for key, p in m.named_parameters(recurse=False)
        if isinstance(m, nn.BatchNorm2d) or key == "bias"
    }
    for group in optimizer(TrainingConfig(network=name, weight_decay=0.05), net).param_groups:
        for p in group["params"]:
            assert group["weight_decay"] == (0.0 if id(p) in free else 0.05)


@pytest.mark.parametrize("name", ["resnet18", "cnn5"])
def test_layer_decay_falls_from_the_head(name):
    with torch.device("meta"):
        net = build(name, 1, 3)
    c = TrainingConfig(network=name, layer_decay=0.5, learning_rate=0.8)
    opt = optimizer(c, net)
    set_rate(opt, 0.8)
    rates = {id(p): group["lr"] for group in opt.param_groups for p in group["params"]}
    for distance, stage in enumerate(reversed(stages(net))):
        assert [rates[id(p)] for p in stage.parameters()] == pytest.approx(
            [0.8 * 0.5**distance] * len(list(stage.parameters()))
        )


KINDS = {
    "sgd": (torch.optim.SGD, {"momentum": 0.7, "nesterov": False}),
    "nag": (torch.optim.SGD, {"momentum": 0.7, "nesterov": True}),
    "adam": (torch.optim.Adam, {"betas": (0.8, 0.95), "eps": 1e-6}),
    "adamw": (torch.optim.AdamW, {"betas": (0.8, 0.95), "eps": 1e-6}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.6, "eps": 1e-6}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_optimisers_take_their_hyperparameters(kind):
    net = build("cnn5", 1, 1)
    opt = optimizer(
        TrainingConfig(network="cnn5", optimizer=kind, momentum=0.7, beta_1=0.8, beta_2=0.95, eps=1e-6, gamma=0.6), net
    )
    want, settings_ = KINDS[kind]
    assert type(opt) is want
    for group in opt.param_groups:
        assert {key: group[key] for key in settings_} == settings_


def test_nesterov_without_momentum_is_sgd():
    opt = optimizer(TrainingConfig(network="cnn5", optimizer="nag", momentum=0.0), build("cnn5", 1, 1))
    assert not any(group["nesterov"] for group in opt.param_groups)


def headed() -> nn.Module:
    """A network of which the head alone is trained: a step takes no time."""
    torch.manual_seed(0)
    net = build("cnn5", 1, 1)
    freeze(net, 1)
    return net.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimiser_steps_with_the_rate_that_is_set(kind):
    net = headed()
    opt = optimizer(TrainingConfig(network="cnn5", optimizer=kind), net)
    x = torch.randn(2, 1, 32, 32)
    moved = []
    for lr in (0.0, 1e-3):
        set_rate(opt, lr)
        before = net.fc.weight.detach().clone()
        opt.zero_grad()
        net(x).square().sum().backward()
        opt.step()
        moved.append(float((net.fc.weight.detach() - before).abs().max()))
    assert moved[0] == 0
    assert moved[1] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_state_goes_through_a_checkpoint(kind):
    c = TrainingConfig(network="cnn5", optimizer=kind, layer_decay=0.7)
    net = headed()
    opt = optimizer(c, net)
    net(torch.randn(2, 1, 32, 32)).sum().backward()
    opt.step()
    again = optimizer(c, net)
    again.load_state_dict(opt.state_dict())
    assert [g["scale"] for g in again.param_groups] == [g["scale"] for g in opt.param_groups]
    assert again.state_dict()["param_groups"] == opt.state_dict()["param_groups"]
