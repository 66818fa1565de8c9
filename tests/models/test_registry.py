"""A network is one entry: a network from outside is built, frozen, fused, explained, saved and configured like ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from networks import batch_norms, with_statistics
from thorax import models
from thorax.config import TrainingConfig
from thorax.errors import ThoraxError

SOURCE = Path(__file__).resolve().parents[2] / "source_dir"


class Toy(nn.Module):
    """Two convolutions with batch norm, averaged, and one linear layer."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.head = nn.Linear(6, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.second(self.first(x))
        logits: torch.Tensor = self.head(maps.relu_().mean(dim=(2, 3)))
        return logits


SPEC = models.ModelSpec(
    "toy",
    build=lambda channels, outputs, dropout: Toy(channels, outputs),
    stages=lambda net: [net.first, net.second, net.head],  # type: ignore[list-item]
    feature_map=lambda net: net.second,  # type: ignore[arg-type,return-value]
    head="head.",
    smallest_side=8,
)


@pytest.fixture
def toy() -> Iterator[nn.Module]:
    """The toy network, built by its registered name, with batch-norm statistics that are not the initial ones."""
    models.MODELS.register("toy", SPEC)
    torch.manual_seed(0)
    yield with_statistics(models.build("toy", 1, 3).eval())
    models.MODELS.remove("toy")


# -- A network from outside the package --------------------------------------------------------------------------------


def test_a_toy_network_is_built_and_known_by_its_name(toy):
    assert models.names()[-1] == "toy"
    assert toy(torch.randn(2, 1, 16, 16)).shape == (2, 3)
    assert models.spec_of(toy) is models.spec_of("toy") is SPEC


def test_a_toy_network_is_frozen_by_its_stages(toy):
    models.freeze(toy, 2)
    models.train_mode(toy)
    assert [p.requires_grad for p in toy.parameters()] == [False] * 4 + [True] * 6
    assert (toy.first[1].training, toy.second[1].training) == (False, True)


def test_a_toy_network_is_fused(toy):
    fused = models.fuse_batchnorm(toy, (1, 16, 16))
    x = torch.randn(3, 1, 20, 20)
    assert (batch_norms(toy), batch_norms(fused)) == (2, 0)
    torch.testing.assert_close(fused(x), toy(x), rtol=1e-4, atol=1e-5)
    assert models.spec_of(fused).name == "toy"


def test_a_toy_networks_heat_map_is_the_head_weighted_map(toy):
    """Grad-CAM of the map before the ReLU: each channel's weight is the head's, where the ReLU lets it through."""
    x = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        maps = toy.second(toy.first(x))
        share = (maps > 0).float().mean(dim=(2, 3), keepdim=True)
        cam = (toy.head.weight[2][None, :, None, None] * share * maps).sum(dim=1).relu()
    assert cam.max() > 0
    torch.testing.assert_close(models.heat_maps(toy, x, torch.tensor([2])), cam / cam.max(), rtol=1e-4, atol=1e-5)


def test_a_toy_networks_weights_are_saved_and_loaded(toy, tmp_path):
    torch.save(toy.state_dict(), tmp_path / "w.pt")
    again = models.build("toy", 1, 3)
    assert models.load_weights(again, tmp_path / "w.pt") == []
    x = torch.randn(1, 1, 16, 16)
    assert torch.equal(again.eval()(x), toy(x))
    other = models.build("toy", 3, 2)
    assert models.load_weights(other, tmp_path / "w.pt") == [
        "first layer first.0.weight adapted from 1 input channels to 3",
        "head head.weight, head.bias is new",
    ]


def test_a_toy_network_is_configured(toy):
    assert TrainingConfig.parse({"network": "toy", "image_shape": "1,8,8"}).network == "toy"
    with pytest.raises(
        ThoraxError, match=r"^image_shape=1,8,7 is too small for network=toy: at least 8 pixels a side$"
    ):
        TrainingConfig.parse({"network": "toy", "image_shape": "1,8,7"})
    with pytest.raises(
        ThoraxError, match="use_pretrained_model=true with network=toy: there are no pretrained weights"
    ):
        TrainingConfig.parse({"network": "toy", "use_pretrained_model": "1"})


def test_an_unknown_network_is_refused_with_the_nearest_name():
    with pytest.raises(
        ThoraxError, match=r"^network=resnet8 is not one of the \d+ that are known; did you mean resnet\d+"
    ):
        TrainingConfig.parse({"network": "resnet8"})
    with pytest.raises(ThoraxError, match=r"^network=toy is not one of the \d+ that are known$"):
        TrainingConfig.parse({"network": "toy"})
    with pytest.raises(ThoraxError, match=r"^network densnet121 is unknown; did you mean densenet121 or "):
        models.build("densnet121", 1, 1)


def test_a_network_without_an_entry_is_named():
    with pytest.raises(ThoraxError, match=r"^Toy has no ModelSpec; build it with models\.build or set its spec$"):
        models.stages(Toy(1, 1))


def test_names_and_sizes_are_known_without_torch():
    """The configuration checks them before torch, which takes seconds, is imported."""
    source = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
sys.modules["torch"] = None  # an import of torch raises
from thorax import models
from thorax.config import TrainingConfig
print(models.names() == tuple(models.MODELS), models.spec_of("alexnet").smallest_side, TrainingConfig().network)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.stdout == "True 63 resnet50\n", done.stderr


def test_what_the_package_exports_is_there():
    assert all(callable(getattr(models, name)) for name in models.__all__ if name != "MODELS")
    with pytest.raises(AttributeError, match=r"module thorax\.models has no attribute bild"):
        _ = models.bild  # type: ignore[attr-defined]


# -- DenseNet-121: one file and its entry; shapes, stages, heat maps and fusing are tested with all networks' ----------


def test_the_published_densenets_first_names_are_taken(tmp_path):
    """The published file says denselayer1.norm.1.weight where the layers are called denselayer1.norm1.weight."""
    old = models.build("densenet121", 3, 2, dropout=0.5)
    published = {
        key.replace("classifier.1.", "classifier.")
        if key.startswith("classifier")
        else key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value
        for key, value in old.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in published
    torch.save(published, tmp_path / "w.pt")
    net = models.build("densenet121", 3, 2)
    assert models.load_weights(net, tmp_path / "w.pt") == []
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(net.eval()(x), old.eval()(x))


def test_densenets_smallest_side_is_the_smallest_that_works():
    net = models.build("densenet121", 1, 1).eval()
    assert net(torch.randn(1, 1, 29, 29)).shape == (1, 1)
    with pytest.raises(RuntimeError, match="Output size is too small"):
        net(torch.randn(1, 1, 28, 28))
