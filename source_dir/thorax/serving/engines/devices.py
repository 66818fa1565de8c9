"""Whether there is a GPU, and what follows from it; torch is asked only where there may be one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thorax.machine import may_have_gpu

if TYPE_CHECKING:
    import torch

#: Images of one forward pass by default, on a CPU and on a GPU: served ones, and those of a folder.
SERVED, SCORED = (16, 64), (32, 128)


def has_gpu() -> bool:
    """Whether torch can use a GPU; where no driver is there, torch is not even imported."""
    if not may_have_gpu():
        return False
    import torch

    return bool(torch.cuda.is_available())


def default_batch(sizes: tuple[int, int], device: torch.device | None = None) -> int:
    """The one of SERVED or SCORED for a device; None: a GPU if there is one."""
    return sizes[has_gpu() if device is None else device.type == "cuda"]


def gpu_name() -> str:
    """Of the GPU that a classifier takes by default; empty without one."""
    if not has_gpu():
        return ""
    import torch

    return str(torch.cuda.get_device_name())
