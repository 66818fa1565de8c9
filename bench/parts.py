"""Parts of a run that share its time: each a process of its own, which takes no other along when it fails or hangs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        what: what is run.
        seconds: at most, where the parts before it saved nothing.
    """

    name: str
    what: str
    seconds: float


def share(parts: Sequence[Part], left: float) -> float:
    """Seconds for the first of the parts that are left: its own and what those before it saved; where too little is
    left for all, as much less for each."""
    own, later = parts[0].seconds, sum(part.seconds for part in parts[1:])
    return left - later * min(1.0, left / (own + later))


def limited(words: Sequence[str], seconds: float, log: Path | None = None) -> int | None:
    """Runs a process, at most for so long; all that it started ends with it, servers of a session of their own too.

    Args:
        log: takes its output; None: this process's.

    Returns:
        Its exit code; None where it was stopped.
    """
    import psutil

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:3] + [p for p in sys.path if "site" in p])}
    with open(log or os.devnull, "w", encoding="utf-8") as file:
        out = file if log else None
        process = psutil.Popen(words, stdout=out, stderr=out, env=environment, start_new_session=True, cwd=ROOT)
        below: list[psutil.Process] = []
        try:
            return process.wait(seconds)
        except psutil.TimeoutExpired:
            below = process.children(recursive=True)
            return None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for one in below:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait()
