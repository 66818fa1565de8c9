"""Heat maps: where in an image the network saw a label. Grad-CAM over the last convolutional feature map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from thorax.models.registry import spec_of


def heat_maps(net: nn.Module, x: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """One heat map per image: Grad-CAM (Selvaraju et al., "Grad-CAM: Visual explanations from deep networks", 2017).

    The feature map's channels are weighed by the gradient of one logit, averaged over all positions; what is left above
    zero is scaled to the image's size and to a maximum of 1.

    Args:
        net: in evaluation mode, from `models.build`. Its parameters' gradients are left as they are.
        x: (N, C, H, W) float32, the network's input.
        outputs: (N,) int64, each image's logit to explain, 0..L-1.

    Returns:
        (N, H, W) float32 in 0..1; all 0 where nothing speaks for the label.

    Raises:
        ThoraxError: the network has no ModelSpec.
    """
    maps: list[torch.Tensor] = []

    def keep(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        # Gradients start here: a leaf, so that nothing before it is kept for a backward pass.
        maps.append(output.detach().requires_grad_(True))
        return maps[0].clone()  # a layer behind may change its input in place, which a leaf does not allow

    handle = spec_of(net).feature_map(net).register_forward_hook(keep)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            logits = net(x.clone()).float()  # a clone made here is no inference tensor
            explained = logits.gather(1, outputs.to(logits.device, copy=True)[:, None]).sum()
            (gradient,) = torch.autograd.grad(explained, maps[0])
    finally:
        handle.remove()
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    cam = (weights * maps[0].detach().float()).sum(dim=1, keepdim=True).relu()
    cam = F.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False).squeeze(1)
    highest = cam.amax(dim=(1, 2), keepdim=True)
    return torch.where(highest > 0, cam / highest.clamp(min=torch.finfo(cam.dtype).tiny), torch.zeros_like(cam))
