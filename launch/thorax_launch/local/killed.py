"""Which process of a run was ended by which signal, as torchrun and the toolkit tell it."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from thorax_launch.local.job_directory import JobDirectory

#: Bytes at the end of a log among which torchrun's summary is, and seconds around the end when it may be written.
_TAIL, _NEAR = 64 << 10, 120.0
_RANK = re.compile(
    r"time\s*: (?P<time>\S+)\n(?:(?!\n\[|Root Cause)[\s\S])*?rank\s*: (?P<rank>\d+) "
    r"(?:(?!\n\[|Root Cause)[\s\S])*?Signal (?P<number>\d+) \("
)
_ALONE = re.compile(r"^ExitCode -(\d+)$", re.MULTILINE)
_WHY = {
    signal.SIGKILL: "memory has most likely run out: lower batch_size or num_workers, or take a machine with more",
    signal.SIGBUS: "shared memory (/dev/shm) has most likely run out: set num_workers=0, or enlarge it (docker run"
    " --shm-size=1g)",
    signal.SIGSEGV: "a library has crashed",
    signal.SIGILL: "a library needs another CPU",
}


def killed(job: JobDirectory) -> str:
    """Who was ended by a signal that no process sends itself, and what it most likely means; "" where nobody was.

    Torchrun ends the other processes by SIGTERM; that is not told.
    """
    try:
        alone = _ALONE.search(job.failure.read_text(encoding="utf-8", errors="replace"))
        ended = job.failure.stat().st_mtime
    except OSError:
        return ""
    if alone:
        return _told("the training process", int(alone[1]))
    for found in reversed(list(_RANK.finditer(_tail(job.log)))):  # the root cause is the last
        if int(found["number"]) in _WHY and abs(ended - _seconds(found["time"])) < _NEAR:
            return _told(f"rank {found['rank']}", int(found["number"]))
    return ""


def _told(who: str, number: int) -> str:
    if number not in _WHY:
        return ""
    return f"{who} was ended by {signal.Signals(number).name}: {_WHY[signal.Signals(number)]}"


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            return file.read(_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""


def _seconds(text: str) -> float:
    """Since 1970, of a time as torchrun writes it; 0 where it is none."""
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d_%H:%M:%S"))
    except ValueError:
        return 0.0
