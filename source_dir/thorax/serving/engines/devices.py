"""Whether there is a GPU; torch is asked only where there may be one."""

from __future__ import annotations

from thorax.machine import may_have_gpu


def has_gpu() -> bool:
    """Whether torch can use a GPU; where no driver is there, torch is not even imported."""
    if not may_have_gpu():
        return False
    import torch

    return bool(torch.cuda.is_available())
