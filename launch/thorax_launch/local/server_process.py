"""A server in a process of its own, which ends when we are told to."""

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

#: Seconds that a server which was asked to stop has; then it is killed with all its children.
GRACE = 60.0


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> int:
    """Runs a server until it ends, or until SIGTERM or Ctrl-C, which it gets as SIGTERM; its children go with it.

    Returns:
        Its exit code; 0 where it ended because it was asked to.
    """
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, start_new_session=True)
    asked = []

    def stop(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        process.terminate()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    children: set[psutil.Process] = set()  # all that ever were: an orphan is nobody's child any more
    try:
        while process.poll() is None:
            children.update(_below(process.pid))
            try:
                process.wait(GRACE if asked else 1.0)
            except subprocess.TimeoutExpired:
                if asked:
                    process.kill()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.kill()
        _, left = psutil.wait_procs(children, timeout=5)
        for one in left:
            with suppress(psutil.Error):
                one.kill()
        psutil.wait_procs(left, timeout=5)
    return 0 if asked else process.returncode


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
