"""Heat maps: where in an image the network saw a label. Grad-CAM over the last convolutional feature map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from thorax.errors import ThoraxError
from thorax.models.registry import spec_of

#: Tokens before those of the image: the class, distillation, registers.
_MORE_TOKENS = 8


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
        ThoraxError: the network has no ModelSpec, or no map of features.
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
    features, gradient = (as_map(t.detach().float(), x.shape[2:]) for t in (maps[0], gradient))
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    cam = (weights * features).sum(dim=1, keepdim=True).relu()
    cam = F.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False).squeeze(1)
    highest = cam.amax(dim=(1, 2), keepdim=True)
    return torch.where(highest > 0, cam / highest.clamp(min=torch.finfo(cam.dtype).tiny), torch.zeros_like(cam))


def as_map(features: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Features as (N, C, h, w), where h to w is as the image's height to its width.

    Args:
        features: (N, C, h, w), (N, h, w, C), or tokens (N, T, C), of which the first few may be none of the image's.
        size: the image's height and width.

    Raises:
        ThoraxError: no such order is found.
    """
    height, width = size
    if features.ndim == 4:
        _, _, h, w = features.shape
        last = abs(h * width - w * height) > abs(features.shape[1] * width - h * height)
        return features.movedim(3, 1) if last else features
    if features.ndim == 3:
        tokens = features.shape[1]
        for patch in range(1, min(height, width) + 1):
            h, w = height // patch, width // patch
            if height % patch == width % patch == 0 and 0 <= (more := tokens - h * w) <= _MORE_TOKENS:
                return features[:, more:].transpose(1, 2).reshape(len(features), -1, h, w)
    raise ThoraxError(
        f"features of the shape {tuple(features.shape)} are no map of an image of {height}x{width} pixels"
    )
