"""Batch norm over the images of all processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class _AllReduceSum(torch.autograd.Function):
    """Sum over all processes; its backward pass sums the gradients too."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        out = x.clone()
        torch.distributed.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        out = grad.contiguous().clone()
        torch.distributed.all_reduce(out)
        return out


def _sum_over_processes(x: torch.Tensor) -> torch.Tensor:
    summed: torch.Tensor = _AllReduceSum.apply(x)  # type: ignore[no-untyped-call]
    return summed


class SyncBatchNormCPU(nn.BatchNorm2d):
    """nn.SyncBatchNorm for CPU tensors (torch's own is for GPUs): statistics over the images of all processes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        y = x.float()
        c = y.shape[1]
        sums = _sum_over_processes(torch.cat([y.sum((0, 2, 3)), y.new_tensor([y.numel() / c])]))
        count = sums[-1].detach()
        mean = sums[:c] / count
        centred = y - mean[:, None, None]
        var = _sum_over_processes((centred * centred).sum((0, 2, 3))) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            m = self.momentum if self.momentum is not None else 0.1
            self.running_mean.lerp_(mean.detach(), m)
            self.running_var.lerp_(var.detach() * count / (count - 1).clamp(min=1), m)
        return (centred * (self.weight * torch.rsqrt(var + self.eps))[:, None, None] + self.bias[:, None, None]).to(
            x.dtype
        )


def sync_batchnorm(net: nn.Module, device: str) -> nn.Module:
    """The network with batch norm over all processes."""
    if device != "cpu":
        synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
        return synced
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                norm = SyncBatchNormCPU(
                    child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
                )
                norm.load_state_dict(child.state_dict())
                setattr(parent, name, norm)
    return net
