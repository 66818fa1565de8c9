"""Which kernels a GPU computes with, and what a first step costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

from thorax.job import set_if_missing

#: Seconds from which on a first step has a line in the log.
SLOW_STEP = 5.0


@contextmanager
def gpu_kernels(tf32: bool, device: torch.device, deterministic: bool = False) -> Iterator[None]:
    """On a GPU: cuDNN tries its convolutions at the first step of each size, and float32 is rounded to TF32 or not.

    All of it belongs to the process, and is as before at the end. Elsewhere nothing changes: a CPU adds in one order.

    Args:
        tf32: float32 convolutions and matrix products round their inputs to TF32 (10 bits after the point).
        device: what the run computes on.
        deterministic: only kernels that add in one order, chosen without trying, so that a run gives the same bits
            again; torch warns of an operation that has none.
    """
    if device.type != "cuda":
        yield
        return
    cudnn, filling = torch.backends.cudnn, cast(Any, torch.utils.deterministic)
    before = cudnn.benchmark, cudnn.allow_tf32, torch.get_float32_matmul_precision(), filling.fill_uninitialized_memory
    mode = torch.get_deterministic_debug_mode()
    if deterministic:  # read by cuBLAS at its first product; two buffers of 4 MiB for each size of work
        set_if_missing("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        cudnn.benchmark, cudnn.allow_tf32 = not deterministic, tf32
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        if deterministic:
            torch.use_deterministic_algorithms(True, warn_only=True)
            filling.fill_uninitialized_memory = False  # nothing here reads memory before it is written
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32 = before[:2]
        torch.set_float32_matmul_precision(before[2])
        torch.set_deterministic_debug_mode(mode)
        filling.fill_uninitialized_memory = before[3]


def first_step(seconds: float, compiled: bool, device: torch.device) -> str:
    """A line about the run's first step where it is worth one, with what it spends its time on; else nothing."""
    if not compiled and seconds < SLOW_STEP:
        return ""
    on_gpu = " and cuDNN tries its kernels" if device.type == "cuda" else ""
    why = f"compile=true compiles the network in it{on_gpu}" if compiled else on_gpu.removeprefix(" and ")
    return f"first step: {seconds:.1f} s" + (f": {why}" if why else "")
