"""Networks by name: shapes, layers, dropout."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn

from networks import random_images
from thorax.models import build, spec_of, stages

SIZES = {"alexnet": (63, 70), "cnn5": (32, 40)}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "alexnet", "cnn5", "densenet121"])
def test_any_network_gives_its_logits(name, channels):
    net = build(name, channels, 5, dropout=0.2).eval()
    with torch.no_grad():
        assert net(random_images(channels, size=SIZES.get(name, (32, 40)))).shape == (2, 5)


def test_the_five_layer_network_leaves_three_by_five_at_its_own_size():
    net = build("cnn5", 1, 1)
    assert net.features(random_images(size=(112, 160))).shape == (2, 256, 3, 5)
    assert [layer[0].out_channels for layer in net.features] == [16, 32, 64, 128, 256]


def test_layers_are_torchvisions():
    """So that anybody's weights fit, and ours fit anybody's."""
    with torch.device("meta"):
        for name in ("resnet18", "resnet50", "resnet152", "alexnet", "densenet121"):
            assert list(build(name, 3, 7).state_dict()) == list(
                getattr(torchvision.models, name)(num_classes=7).state_dict()
            )


@pytest.mark.parametrize("name", ["resnet18", "alexnet", "cnn5", "densenet121"])
def test_dropout_is_for_training_alone(name):
    net, x = build(name, 1, 3, dropout=0.5), random_images(size=SIZES.get(name, (32, 40)))
    net.eval()
    assert torch.equal(net(x), net(x))
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.5}
    assert all(m.p == 0 for m in build(name, 1, 3).modules() if isinstance(m, nn.Dropout))


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "mnasnet0_5", "timm/test_efficientnet", "timm/tf_efficientnet_lite0"]
)
def test_a_head_of_one_output_is_drawn_by_its_inputs(name):
    """Their libraries draw it by its outputs: weights up to 1 or 1.7, first logits of tens that spoil the rest."""
    net = build(name, 3, 1)
    head = next(layer for layer in reversed(list(net.modules())) if isinstance(layer, nn.Linear))
    assert 0.9 < head.weight.abs().max() * head.in_features**0.5 <= 1
    assert head.bias.abs().max() <= head.in_features**-0.5


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny"])
def test_a_head_of_a_thousand_outputs_is_its_librarys_own(name):
    torch.manual_seed(3)
    ours = build(name, 3, 1000).state_dict()
    torch.manual_seed(3)
    theirs = torchvision.models.get_model(name).state_dict()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())


@pytest.mark.parametrize("name", ["alexnet", "cnn5"])
def test_a_copied_or_pickled_network_keeps_its_entry(name):
    net = build(name, 1, 2)
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert spec_of(again) == spec_of(name)
        assert len(stages(again)) == len(stages(net))
