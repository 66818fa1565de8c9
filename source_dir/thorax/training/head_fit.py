"""The last layer fitted to the features that a network's weights give, before anything else is trained.

A new head's first gradients are noise to the layers below; one that fits their features leaves them as they are where
they serve. Source: A. Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution",
ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from thorax.errors import ThoraxError
from thorax.models import spec_of

#: Steps of L-BFGS, each over all images.
_STEPS = 100


def linear_head(net: nn.Module) -> nn.Linear:
    """The network's last layer.

    Raises:
        ThoraxError: it is not linear, as SqueezeNet's.
    """
    prefix = spec_of(net).head
    found = [m for place, m in net.named_modules() if f"{place}.".startswith(prefix) and isinstance(m, nn.Linear)]
    if not found:
        raise ThoraxError(f"fit_head: the last layer of {spec_of(net).name} is not linear; leave fit_head out")
    return found[-1]


class HeadInputs(nn.Module):
    """(N, C, H, W) images -> (N, D) inputs of the network's last layer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.head = net, linear_head(net)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: list[torch.Tensor] = []
        handle = self.head.register_forward_pre_hook(lambda _, given: found.append(given[0]))
        try:
            self.net(x)
        finally:
            handle.remove()
        return found[0].flatten(1)


def fit_head(
    head: nn.Linear, features: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor], penalty: float
) -> float:
    """Sets the layer to the minimum of loss + penalty / 2 * |weights|^2, its features brought to mean 0 and std 1.

    Args:
        features: (N, D) float32, its inputs.
        loss: (N, L) logits -> mean loss, a scalar, such as binary cross entropy.

    Returns:
        The loss at the minimum, without the penalty.
    """
    mean, std = features.mean(0), features.std(0, correction=0)
    scale = torch.where(std > 1e-6 * std.max(), 1 / std, 0)  # what never changes has no weight
    x = (features - mean) * scale
    weight = torch.zeros(head.out_features, x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(head.out_features, device=x.device, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        search.zero_grad()
        found = loss(x @ weight.T + bias) + penalty / 2 * weight.square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    search.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        last = float(loss(x @ weight.T + bias))
        head.weight.copy_(weight * scale)
        if head.bias is not None:
            head.bias.copy_(bias - (weight * scale) @ mean)
    return last
