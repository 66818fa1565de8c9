"""Which kernels a GPU computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def gpu_kernels(tf32: bool, device: torch.device) -> Iterator[None]:
    """On a GPU: cuDNN tries its convolutions at the first step of each size, and float32 is rounded to TF32 or not.

    Both belong to the process, and are as before at the end. Elsewhere nothing changes.

    Args:
        tf32: float32 convolutions and matrix products round their inputs to TF32 (10 bits after the point).
        device: what the run computes on.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        cudnn.benchmark, cudnn.allow_tf32 = True, tf32
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32 = before[:2]
        torch.set_float32_matmul_precision(before[2])
