"""Activation checkpointing: the same results, with fewer activations kept."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from networks import random_images
from thorax.models import build


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "cnn5", "densenet121"])
def test_activation_checkpointing_changes_nothing(name):
    """The same logits, gradients and batch-norm statistics as without, after two steps; dropout draws the same."""
    plain = build(name, 1, 2, dropout=0.2)
    saving = build(name, 1, 2, dropout=0.2, activation_checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    for step in range(2):
        for net in (plain, saving):
            torch.manual_seed(step)
            net.zero_grad()
            net(random_images(count=3)).square().sum().backward()
    for (key, left), right in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(right.grad, left.grad, msg=key)
    for (key, left), right in zip(plain.named_buffers(), saving.buffers(), strict=True):
        torch.testing.assert_close(right, left, msg=key)
    assert all(m.momentum == 0.1 for m in saving.modules() if isinstance(m, nn.BatchNorm2d))


def test_activation_checkpointing_keeps_fewer_activations():
    def kept(checkpointing: bool) -> int:
        total = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        net = build("resnet18", 1, 2, activation_checkpointing=checkpointing)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            net(random_images(size=(64, 64)))
        return total

    assert kept(True) < 0.6 * kept(False)


def test_a_copy_of_a_checkpointed_network_has_its_own_weights():
    """The average of the weights is a deep copy: its blocks must not compute with the original's."""
    net = build("resnet18", 1, 2, activation_checkpointing=True)
    average = copy.deepcopy(net)
    x = random_images()
    before = average.eval()(x)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1)
    torch.testing.assert_close(average(x), before)
    assert not torch.allclose(net.eval()(x), before)
