"""The processes of a local job: found by the SAGEMAKER_BASE_DIR that each inherits, stopped in the right order.

Run as a script it is the guard of one job: it waits until the launcher ends, in whatever way, and then stops what is
left of the job.

    python processes.py BASE PROGRAM < pipe held open by the launcher
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import psutil

#: Seconds that a script has to write its checkpoint.
GRACE = 60.0


def of_job(base: str) -> list[psutil.Process]:
    """Every living process of the job in folder `base`: toolkit, torchrun, script, its workers."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get("SAGEMAKER_BASE_DIR") == base:
                found.append(process)
        except (psutil.Error, OSError):  # it has ended, or belongs to another user
            continue
    return found


def of_script(base: str, program: str) -> list[psutil.Process]:
    """Those that run `program` itself: not the toolkit, shell and torchrun above it, nor the workers below it."""
    running = {process.pid: process for process in of_job(base) if _runs(process, program)}
    return [process for process in running.values() if _parent(process) not in running]


def terminate(base: str, program: str) -> list[psutil.Process]:
    """SIGTERM to the script's processes, which then save a checkpoint; returns them, none where it has not begun."""
    scripts = of_script(base, program)
    for process in scripts:
        _try(process.terminate)
    return scripts


def kill(base: str) -> None:
    """SIGKILL to everything of the job until nothing is left: a process may have started others before it ended."""
    for _ in range(50):
        if not (left := of_job(base)):
            return
        for process in left:
            _try(process.kill)
        psutil.wait_procs(left, timeout=0.2)


def stop(base: str, program: str, grace: float = GRACE) -> None:
    """Stops a job: SIGTERM to the script, up to `grace` seconds for its checkpoint, then SIGKILL to all that is left.

    Torchrun and toolkit get a moment to end by themselves, so that their logs do; workers that the script left behind
    would hold them for ever.
    """
    if scripts := terminate(base, program):
        _wait(lambda: any(_alive(process) for process in scripts), grace)
        _wait(lambda: bool(of_job(base)), 3.0)
    kill(base)


def _wait(busy: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while busy() and time.monotonic() < end:
        time.sleep(0.1)


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _runs(process: psutil.Process, program: str) -> bool:
    """Whether the first word of the command line after the interpreter and its options is the program."""
    try:
        words = [word for word in process.cmdline()[1:] if not word.startswith("-")]
    except psutil.Error:
        return False
    return bool(words) and os.path.basename(words[0]) == program


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.Error:
        return 0


def _try(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.Error:
        pass


if __name__ == "__main__":
    sys.stdin.buffer.read()  # returns when the launcher ends
    stop(sys.argv[1], sys.argv[2])
