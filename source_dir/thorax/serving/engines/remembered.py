"""What a probe chose, kept in a small file of the user's cache folder: the next start on this machine need not ask."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from thorax import job
from thorax.errors import ThoraxError
from thorax.files import read_sealed, write_sealed
from thorax.machine import cpu_model, free_cpus


class Remembered:
    """The choice for one bundle, request and machine; a folder that cannot be read or written is no error.

    Args:
        facts: what the choice depends on, beside the machine and the versions of torch and OpenVINO.
    """

    def __init__(self, facts: Sequence[object]) -> None:
        machine = [cpu_model(), free_cpus(), platform.machine(), *map(_version, ("torch", "openvino"))]
        digest = hashlib.sha256(json.dumps([*map(str, facts), *map(str, machine)]).encode()).hexdigest()
        env = job.environment()
        folder = env.get("THORAX_CACHE") or job.cache_folder(env) or "/nonexistent"
        self._file = Path(folder) / f"engine-{digest[:16]}.json"

    def get(self) -> dict[str, float]:
        """Images per second by "engine precision", as measured then; empty where nothing is remembered."""
        try:
            return {str(name): float(rate) for name, rate in (read_sealed(self._file) or {}).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def keep(self, rates: dict[str, float]) -> None:
        """Remembers them, where the folder can be written."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(rates, self._file, "measured rates")
        except (OSError, ThoraxError):
            pass


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
