"""Heat maps point at what a logit was computed from."""

import pytest
import torch

from thorax import models
from thorax.models import heat_maps


@pytest.mark.parametrize("network", ["resnet18", "alexnet", "cnn5", "densenet121"])
def test_a_heat_map_per_image_in_0_to_1_at_the_images_size(network: str) -> None:
    torch.manual_seed(0)
    net = models.build(network, 1, 3).eval()
    x = torch.randn(2, 1, 112, 160)
    maps = heat_maps(net, x, torch.tensor([0, 2]))
    assert maps.shape == (2, 112, 160) and maps.dtype == torch.float32
    assert maps.min() >= 0 and maps.max() <= 1
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("network", ["resnet18", "densenet121"])
def test_equals_the_weights_of_the_last_layer_where_a_network_pools_its_features(network: str) -> None:
    """With global average pooling and one linear layer, Grad-CAM is the class activation map (Zhou et al., 2016)."""
    torch.manual_seed(0)
    net = models.build(network, 1, 2).eval()
    x = torch.randn(1, 1, 96, 96)
    (head,) = models.stages(net)[-1:]
    pooled: list[torch.Tensor] = []
    with torch.no_grad(), models.spec_of(net).feature_map(net).register_forward_hook(lambda m, i, o: pooled.append(o)):
        logits = net(x)
    torch.testing.assert_close(head(pooled[0].mean(dim=(2, 3))), logits)
    cam = (head.weight[1][None, :, None, None] * pooled[0]).sum(1, keepdim=True).relu()
    assert cam.max() > 0
    cam = torch.nn.functional.interpolate(cam, size=(96, 96), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(heat_maps(net, x, torch.tensor([1])), (cam / cam.max()).detach(), rtol=1e-4, atol=1e-5)


def test_works_inside_inference_mode_on_an_image_made_there() -> None:
    net = models.build("resnet18", 1, 1).eval()
    with torch.inference_mode():
        maps = heat_maps(net, torch.randn(2, 1, 64, 64), torch.zeros(2, dtype=torch.int64))
    assert torch.isfinite(maps).all()


def test_an_image_that_nothing_speaks_for_is_all_zero() -> None:
    net = models.build("cnn5", 1, 1).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    assert not heat_maps(net, torch.randn(1, 1, 112, 160), torch.tensor([0])).any()
