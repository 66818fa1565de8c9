"""Runs a server in a process of its own, which ends with all its children when this one is asked to."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

#: Seconds that a server has to end after SIGTERM; then it is killed with all its children.
GRACE = 60.0


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> int:
    """Runs a server until it ends, or until SIGTERM or Ctrl-C, which it gets as SIGTERM; its children go with it.

    Returns:
        Its exit code; 0 where it ended because it was asked to.
    """
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, start_new_session=True)
    stopping = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.append(number)
        process.terminate()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    children: set[psutil.Process] = set()  # all that there ever were: an orphan is no longer found below the process
    try:
        while process.poll() is None:
            children.update(_below(process.pid))
            try:
                process.wait(GRACE if stopping else 1.0)
            except subprocess.TimeoutExpired:
                if stopping:
                    process.kill()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.kill()
        _, left = psutil.wait_procs(children, timeout=5)
        for child in left:
            with suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(left, timeout=5)
    return 0 if stopping else process.returncode


def as_environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings of a server as the variables that it reads: max_batch=8 -> THORAX_MAX_BATCH=8."""
    return {
        f"THORAX_{name.upper()}": ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in settings.items()
    }


def _below(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []
