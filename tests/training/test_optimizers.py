"""Optimizers: groups of parameters, their settings, and one step of each."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from thorax.config import TrainingConfig
from thorax.config.schema import Optimisation
from thorax.models import build, freeze, stages
from thorax.training.optimizers import OPTIMIZERS, build_optimizer, set_rate


def test_the_configuration_names_each_entry():
    assert [*Optimisation.__dataclass_fields__["optimizer"].metadata["about"].choices] == [*OPTIMIZERS]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("name", ["resnet18", "alexnet", "cnn5", "densenet121", "vit_b_32", "swin_t"])
def test_every_parameter_is_in_one_group(name, dropout):
    with torch.device("meta"):
        net = build(name, 1, 3, dropout)
    c = TrainingConfig(network=name)
    grouped = [id(p) for group in build_optimizer(c, net).param_groups for p in group["params"]]
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
    for group in build_optimizer(TrainingConfig(network=name, weight_decay=0.05), net).param_groups:
        for p in group["params"]:
            assert group["weight_decay"] == (0.0 if id(p) in free else 0.05)


@pytest.mark.parametrize("name", ["resnet18", "cnn5"])
def test_layer_decay_falls_from_the_head(name):
    with torch.device("meta"):
        net = build(name, 1, 3)
    c = TrainingConfig(network=name, layer_decay=0.5, learning_rate=0.8)
    opt = build_optimizer(c, net)
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
    opt = build_optimizer(
        TrainingConfig(network="cnn5", optimizer=kind, momentum=0.7, beta_1=0.8, beta_2=0.95, eps=1e-6, gamma=0.6), net
    )
    want, settings_ = KINDS[kind]
    assert type(opt) is want
    for group in opt.param_groups:
        assert {key: group[key] for key in settings_} == settings_


def test_nesterov_without_momentum_is_sgd():
    opt = build_optimizer(TrainingConfig(network="cnn5", optimizer="nag", momentum=0.0), build("cnn5", 1, 1))
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
    opt = build_optimizer(TrainingConfig(network="cnn5", optimizer=kind), net)
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
    opt = build_optimizer(c, net)
    net(torch.randn(2, 1, 32, 32)).sum().backward()
    opt.step()
    again = build_optimizer(c, net)
    again.load_state_dict(opt.state_dict())
    assert [g["scale"] for g in again.param_groups] == [g["scale"] for g in opt.param_groups]
    assert again.state_dict()["param_groups"] == opt.state_dict()["param_groups"]
