"""float32, float16 with a gradient scaler, or bfloat16: what the machine has, and what the user asked for."""

from __future__ import annotations

import torch
from torch.amp.grad_scaler import GradScaler

from thorax.errors import ThoraxError
from thorax.machine import cpu_has_bfloat16

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def candidates(wanted: str, device: torch.device) -> tuple[str, ...]:
    """What `precision_dtype` may mean on this device: itself, or for auto all that is worth a measurement.

    Raises:
        ThoraxError: bfloat16 on a device that has it not.
    """
    has = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has_bfloat16()
    if wanted == "auto":
        return (
            ("float32", *(["bfloat16"] if has else []), "float16") if device.type == "cuda" else ("float32", "bfloat16")
        )
    if wanted == "bfloat16" and not has:
        other = "float16 or float32" if device.type == "cuda" else "float32"
        raise ThoraxError(
            f"precision_dtype=bfloat16 but this {device.type} has no bfloat16 arithmetic; use auto or {other}"
        )
    return (wanted,)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=_DTYPES.get(precision, torch.bfloat16), enabled=precision != "float32")


def scaler(precision: str, device: torch.device) -> GradScaler:
    """A gradient scaler that does nothing but for float16."""
    return GradScaler(device.type, enabled=precision == "float16")
