"""Stages: every parameter once, frozen from the input, unfrozen from the head."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from networks import random_images
from thorax.models import build, freeze, freeze_batchnorm, stages, train_mode


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", ["resnet18", "resnet101", "alexnet", "cnn5", "densenet121"])
def test_stages_hold_every_parameter_once_from_input_to_head(name, dropout):
    with torch.device("meta"):
        net = build(name, 1, 4, dropout)
    place = {id(p): k for k, p in enumerate(net.parameters())}
    held = [[place[id(p)] for p in stage.parameters()] for stage in stages(net)]
    assert sorted(k for stage in held for k in stage) == list(range(len(place)))
    assert [min(stage) for stage in held] == sorted(min(stage) for stage in held)
    assert [p.shape[0] for p in stages(net)[-1].parameters()] == [4, 4]


@pytest.mark.parametrize("name", ["resnet18", "cnn5"])
def test_frozen_stages_keep_weights_and_statistics(name):
    net = build(name, 1, 2)
    freeze(net, 1)
    before = copy.deepcopy(net.state_dict())
    train_mode(net)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    net(random_images(count=4)).square().sum().backward()
    optimizer.step()
    head = {f"fc.{n}" for n in ("weight", "bias")}
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]) is (key not in head), key


def test_unfreezing_goes_down_stage_by_stage_and_up_again():
    net = build("resnet18", 1, 2)
    for trained in (1, 3, 6, 2):
        freeze(net, trained)
        train_mode(net)
        for k, stage in enumerate(reversed(stages(net))):
            assert {p.requires_grad for p in stage.parameters()} == {k < trained}
            norms = [m for m in stage.modules() if isinstance(m, nn.BatchNorm2d)]
            assert all(m.training is (k < trained) for m in norms)


def test_frozen_batch_norm_keeps_statistics_and_trains_its_weights():
    net = build("resnet18", 1, 2)
    freeze_batchnorm(net)
    before = copy.deepcopy(net.state_dict())
    train_mode(net)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    net(random_images(count=4)).square().sum().backward()
    optimizer.step()
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]) is (("running" in key) or ("num_batches" in key)), key
