"""What this machine has, found without torch.

CPUs that are really ours, whether they multiply bfloat16, and whether there may be a GPU.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices itself (AMX or AVX-512 BF16); in software it would be slower."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def cpu_model() -> str:
    """Name and instruction sets of the CPU, so far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = [line for line in lines[:40] if line.startswith(("model name", "flags", "Features"))]
    return "; ".join(found) or platform.machine()


def may_have_gpu(devices: Path = Path("/dev")) -> bool:
    """False where there is surely no GPU for torch.

    On Linux without a device file of NVIDIA's driver (of a Jetson's too), of WSL's or of AMD's.
    """
    return sys.platform != "linux" or any(
        (devices / name).exists() for name in ("nvidiactl", "nvidia0", "nvhost-gpu", "nvgpu", "dxg", "kfd")
    )


def free_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs that this process may use, 1 or more.

    Its affinity, and a container's quota (cgroup v2 or v1) if that is less.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(quota) > 0:  # "max", or -1: no quota
            cpus = min(cpus, int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        pass
    return max(1, cpus)


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that a process may still take without swapping; None where the system does not tell."""
    try:
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return None
