"""Batch norm is folded into a convolution where that changes nothing, and left where it would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import images
from hosting import tiny_bundle
from networks import batch_norms, with_statistics
from thorax import models
from thorax.models import build, fuse_batchnorm
from thorax.serving.classifier import Classifier


@pytest.mark.parametrize(
    ("network", "channels", "left"),
    [("resnet18", 1, 0), ("resnet50", 1, 0), ("alexnet", 1, 0), ("cnn5", 1, 0), ("densenet121", 3, 62)],
)
def test_fusing_changes_nothing(network, channels, left):
    """In a DenseNet most batch norms stand before a convolution, not behind it: 62 of 121."""
    net = with_statistics(build(network, channels, 2).eval())
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fused = fuse_batchnorm(net, (channels, 80, 80))
    x = torch.randn(2, channels, 96, 80)
    with torch.no_grad():
        torch.testing.assert_close(fused(x), net(x), rtol=1e-3, atol=1e-4)
    assert batch_norms(fused) == left
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_fusing_works_inside_inference_mode():
    with torch.inference_mode():
        assert batch_norms(fuse_batchnorm(build("cnn5", 1, 1), (1, 32, 32))) == 0


# -- Fusing that would be wrong ----------------------------------------------------------------------------------------


class NormUsedTwice(nn.Module):
    """The batch norm follows the convolution, and is used again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x))
        return self.norm(y.relu()).mean(dim=(2, 3))


class NormFedByAnother(nn.Module):
    """Each batch norm is registered right after a convolution, and normalises before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3)
        self.last_norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.last_norm(self.first(x).relu()))
        return self.norm(y.relu_()).mean(dim=(2, 3))  # of the same tensor object as the convolution's output


class OutputUsedTwice(nn.Module):
    """The convolution's output is used without the batch norm too: the numbers alone show it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return (self.norm(y) + y).mean(dim=(2, 3))


@pytest.mark.parametrize("kind", [NormUsedTwice, NormFedByAnother, OutputUsedTwice])
def test_a_pair_that_must_not_be_fused_is_left(kind):
    torch.manual_seed(0)
    net = with_statistics(kind().eval())
    served = fuse_batchnorm(net, (1, 16, 16))
    x = torch.randn(2, 1, 16, 16)
    assert torch.equal(served(x), net(x))
    assert batch_norms(served) == batch_norms(net)


@pytest.mark.parametrize("kind", [NormUsedTwice, NormFedByAnother])
def test_the_pairs_beside_it_are_fused(kind):
    torch.manual_seed(0)
    net = with_statistics(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1), kind()).eval())
    served = fuse_batchnorm(net, (1, 16, 16))
    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(served(x), net(x), rtol=1e-4, atol=1e-5)
    assert batch_norms(served) == batch_norms(kind())


def test_a_bundle_of_such_a_network_is_served_as_it_is(tmp_path):
    """Through the server's door: the probabilities of a bundle are those of its own network."""

    def built(channels: int, outputs: int, dropout: float) -> nn.Module:
        return with_statistics(nn.Sequential(NormUsedTwice(), nn.Linear(3, outputs)))

    models.MODELS.register("twice", replace(models.spec_of("cnn5"), name="twice", build=built, head="1."))
    try:
        bundle = tiny_bundle(tmp_path / "model", network="twice")
        png = images.data(images.grey())
        classifier = Classifier.load(bundle, precision="float32")
        net, prepared = classifier.bundle.build_network(), classifier.bundle.preprocessing
        with torch.no_grad():
            want = net(prepared.tensor(torch.from_numpy(np.stack([prepared.image(png)])))).sigmoid().numpy()
        np.testing.assert_allclose(classifier.predict([png]), want, atol=2e-6)
    finally:
        models.MODELS.remove("twice")
