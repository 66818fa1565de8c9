"""One network of every family of torchvision and several of timm: parts, sizes, weights, heat maps, one step."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn

from conftest import TINY, clean_environment, command, run
from networks import random_images
from thorax import models
from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.models.families import FAMILIES, FAMILY_OF
from thorax.models.gradcam import as_map

#: The smallest of each family, and networks of timm with as many parameters as a toy.
SMALL = ("resnet18", "alexnet", "densenet121", "squeezenet1_1", "googlenet", "mnasnet0_5", "shufflenet_v2_x0_5") + (
    "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "regnet_x_400mf", "convnext_tiny", "swin_t",
)  # fmt: skip
OF_TIMM = ("timm/test_resnet", "timm/test_vit", "timm/test_efficientnet", "timm/test_convnext") + (
    "timm/test_resnet+stages", "timm/test_efficientnet+stages", "timm/test_convnext+stages",
)  # fmt: skip


def side_of(name: str) -> int:
    spec = models.spec_of(name)
    return 160 if name.startswith("timm/") else spec.side or max(64, spec.smallest_side)


def meta(name: str, dropout: float = 0.0) -> nn.Module:
    """The network without memory; a RegNet computes its widths in tensors, which need some."""
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        return models.build(name, 1, 3, dropout)


def test_every_classification_network_of_torchvision_has_its_name():
    assert set(torchvision.models.list_models(torchvision.models)) == set(FAMILY_OF) < set(models.names())


@pytest.mark.parametrize("name", [family.networks[-1] for family in FAMILIES if "regnet" not in family.head])
def test_stages_hold_every_parameter_once_and_end_with_the_head(name):
    if name == "regnet_y_128gf":
        name = "regnet_y_400mf"
    net = meta(name, dropout=0.2)
    held = [id(p) for stage in models.stages(net) for p in stage.parameters()]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in net.parameters()}
    spec = models.spec_of(name)
    head = {k for k in net.state_dict() if k.startswith(spec.head_with_dropout or spec.head)}
    last = {id(p) for p in models.stages(net)[-1].parameters()}
    assert head and {id(p) for k, p in net.named_parameters() if k in head} <= last
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout) and m.p} == {0.2}


@pytest.mark.parametrize("name", [family.networks[0] for family in FAMILIES])
def test_the_smallest_size_is_taken_and_smaller_or_other_ones_are_refused_before_any_data(name):
    spec = models.spec_of(name)
    side = spec.side or spec.smallest_side
    net = meta(name).to("meta").eval()
    assert net(torch.empty(2, 1, side, side, device="meta")).shape == (2, 3)
    TrainingConfig(network=name, image_shape=(1, side, side))
    for wrong in {side - 1, side + 32 if spec.side else side - 1}:
        with pytest.raises(ThoraxError, match=rf"image_shape=1,{wrong},{wrong} .*network={name}.*{side}"):
            TrainingConfig(network=name, image_shape=(1, wrong, wrong))


@pytest.mark.parametrize("name", [*SMALL, *OF_TIMM])
def test_a_step_weights_again_and_a_heat_map(name, tmp_path):
    side = side_of(name)
    net, x = (
        models.build(name, 1, 2, activation_checkpointing=not name.startswith("timm/")),
        random_images(size=(side, side)),
    )
    before = [p.clone() for p in net.parameters()]
    loss = nn.functional.binary_cross_entropy_with_logits(net.train()(x), torch.tensor([[0.0, 1], [1, 0]]))
    loss.backward()
    torch.optim.SGD(net.parameters(), 1e-3).step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    torch.save(net.state_dict(), tmp_path / "w.pt")
    again = models.build(name, 1, 2, dropout=0.3)
    assert models.load_weights(again, tmp_path / "w.pt") == []
    assert torch.equal(again.eval()(x), net.eval()(x))
    other = models.build(name, 1, 5)
    (note,) = models.load_weights(other, tmp_path / "w.pt")
    assert note.endswith("is new")
    maps = models.heat_maps(net, x, torch.tensor([0, 1]))
    assert maps.shape == (2, side, side) and maps.min() >= 0 and maps.max() <= 1


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 8, 4, 6), (64, 96)), ((1, 4, 6, 8), (64, 96)), ((1, 25, 8), (64, 96))]
)
def test_features_in_any_order_are_one_map(shape, size):
    features = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    found = as_map(features, size)
    assert found.shape == (1, 8, 4, 6)
    place = {4: features[0, :, 1, 2] if shape[1] == 8 else features[0, 1, 2], 3: features[0, -24:].reshape(-1, 8)[8]}
    assert torch.equal(found[0, :, 1, 2], place[len(shape)])


def test_features_that_are_no_map_are_refused():
    with pytest.raises(ThoraxError, match=r"shape \(1, 5\) are no map of an image of 64x64 pixels"):
        as_map(torch.zeros(1, 5), (64, 64))


def test_a_name_that_timm_lacks_gets_the_nearest_three():
    with pytest.raises(
        ThoraxError, match=r"timm 1\.\S+ has no resnet19; the nearest are timm/resnet\w+, timm/\w+, timm/\w+"
    ):
        models.check("timm/resnet19", 1, 64, 64)


def test_a_size_that_timms_network_does_not_take_is_refused_with_its_own():
    with pytest.raises(
        ThoraxError, match=r"vit_tiny_patch16_224 does not take images of 96x96 pixels: .*own size is 224x224"
    ):
        models.check("timm/vit_tiny_patch16_224", 1, 96, 96)


def test_a_head_over_all_stages_sees_the_average_of_each():
    """By hand: timm's own maps of the same weights, averaged and put side by side, times the head."""
    import timm

    net = models.build("timm/test_efficientnet+stages", 3, 2).eval()
    body = timm.create_model("test_efficientnet").eval()
    body.load_state_dict(net.body.state_dict(), strict=False)
    x = random_images(3, size=(64, 64))
    with torch.no_grad():
        maps = [*timm.create_model("test_efficientnet", features_only=True).feature_info.channels(), body.num_features]
        last, inside = body.forward_intermediates(x)
        averages = torch.cat([m.mean((2, 3)) for m in [*inside, last]], 1)
        assert averages.shape[1] == sum(maps) == net.head.in_features
        torch.testing.assert_close(net(x), averages @ net.head.weight.T + net.head.bias)


def test_stages_without_maps_are_refused_before_any_data():
    with pytest.raises(ThoraxError, match=r"the stages of timm/test_vit give no maps .* leave \+stages out"):
        models.check("timm/test_vit+stages", 1, 160, 160)


def test_without_timm_the_name_says_what_to_install(images, tmp_path):
    block = (
        "import sys; sys.modules['timm'] = None\nfrom thorax import models\nmodels.check('timm/resnet18', 1, 64, 64)"
    )
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, env=clean_environment())
    assert "network=timm/resnet18 needs timm: pip install 'timm>=1,<2'" in done.stderr


def test_a_network_of_timm_trains_and_its_bundle_names_what_a_server_needs(images, tmp_path):
    settings = {**TINY, "network": "timm/test_efficientnet+stages", "image_shape": "1,64,64", "epochs": "1"}
    done = run(command(images, tmp_path / "model", **settings))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model/code/requirements.txt").read_text().split() == ["timm>=1,<2"]
    stored = json.loads((tmp_path / "model/bundle.json").read_text())
    assert "timm/test_efficientnet+stages" in json.dumps(stored)
    from thorax import Classifier

    paths = sorted((images / "test/NORMAL").iterdir())[:2]
    assert Classifier.load(tmp_path / "model").predict(paths).shape == (2, 1)
