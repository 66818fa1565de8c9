"""Commands in forks of this process that are killed, starved of disk or find flipped bits; and what they leave."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

#: Seconds after which a fork that has not ended is a failure.
LONGEST = 300.0


class End(NamedTuple):
    """How a command ended: its exit code, or the signal that ended it as a negative number; what it printed."""

    code: int
    output: str
    error: str

    @property
    def is_told(self) -> bool:
        """Whether it ended with one line that says why, and no traceback."""
        lines = self.error.strip().splitlines()
        told = [line for line in lines if line.startswith(("error: ", "stopped"))]
        return "Traceback" not in self.output + self.error and len(told) == 1 and lines[-1] == told[0]


@dataclass
class Work:
    """A command that can be taken up where it was left.

    Attributes:
        name: of it.
        run: runs the command in this process with everything it writes below the folder; returns its exit code.
        result: what it came to, from the folder; equal for equal results.
        undisturbed: the result of a run that nothing disturbs.
        seconds: that such a run takes.
    """

    name: str
    run: Callable[[Path], int]
    result: Callable[[Path], object]
    undisturbed: object = None
    seconds: float = 0.0
    log: list[str] = field(default_factory=list)

    def prepare(self, folder: Path) -> None:
        """Runs it undisturbed."""
        began = time.monotonic()
        end = wait(start(self, folder / "good", folder), folder)
        assert end.code == 0, end.error
        self.seconds, self.undisturbed = time.monotonic() - began, self.result(folder / "good")


def start(work: Work, out: Path, logs: Path, most_bytes: int | None = None) -> int:
    """Starts a fork that runs the command; returns its process id.

    Args:
        most_bytes: that a file may have; writing more fails, as on a disk that is full.
    """
    out.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    code = 70
    try:
        os.setsid()
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(logs / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, number)
            stream = open(number, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
            setattr(sys, ("", "stdout", "stderr")[number], stream)
            setattr(sys, ("", "__stdout__", "__stderr__")[number], stream)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        if most_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        torch.set_num_threads(1)  # the threads of OpenMP are not there in a fork: it would wait for them
        code = work.run(out)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def wait(pid: int, logs: Path) -> End:
    """Waits for a fork; one that hangs is killed and ends with the code -9."""
    end = time.monotonic() + LONGEST
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    code = os.waitstatus_to_exitcode(ended[1])
    return End(code, *((logs / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr")))


def flip(folder: Path, chosen: random.Random) -> Path | None:
    """Flips a bit of, cuts off or fills with zeros a random file below the folder; returns which."""
    files = sorted(
        file for file in folder.rglob("*") if file.is_file() and not file.is_symlink() and file.stat().st_size
    )
    if not files:
        return None
    file = chosen.choice(files)
    content = bytearray(file.read_bytes())
    at = chosen.randrange(len(content))
    match chosen.randrange(4):
        case 0:
            del content[at:]
        case 1:
            content[at : at + 4096] = bytes(len(content[at : at + 4096]))
        case _:
            content[at] ^= 1 << chosen.randrange(8)
    file.write_bytes(content)
    return file


def disturb(work: Work, out: Path, logs: Path, chosen: random.Random) -> bool:
    """One disturbance; whether the command came to its end all the same.

    Raises:
        AssertionError: it ended by something else than the disturbance, and not by one line.
    """
    how = chosen.choice(("kill", "kill", "term", "full", "flip"))
    if how == "flip":
        work.log.append(f"{how} {flip(out, chosen)}")
        return False
    most = int(10 ** chosen.uniform(4, 7)) if how == "full" else None  # what it prints has room
    pid = start(work, out, logs, most)
    if how != "full":
        time.sleep(chosen.random() * work.seconds)
        os.kill(pid, signal.SIGKILL if how == "kill" else signal.SIGTERM)
    end = wait(pid, logs)
    work.log.append(f"{how} {most or ''} -> {end.code}: {end.error.strip()[-300:]}")
    expected = {"kill": (0, -signal.SIGKILL), "term": (0, 130, 143, -signal.SIGTERM), "full": (0,)}[how]
    assert end.code in expected or end.is_told, end
    return end.code == 0


def difference(found: object, wanted: object) -> str:
    """What two results do not share; of dictionaries their entries."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        found, wanted = (dict(a.items() - b.items()) for a, b in ((found, wanted), (wanted, found)))
    return f"found {str(found)[:2000]}, and not {str(wanted)[:2000]}"


def one_round(work: Work, folder: Path, chosen: random.Random) -> None:
    """A run that is disturbed once or twice and then left alone: the result of the undisturbed run, and where a
    command refuses to go on, one line, after whose advice (remove what is damaged) it comes to that result.

    Raises:
        AssertionError: another result, a traceback, or no line.
    """
    work.log = []
    out, logs = folder / "out", folder
    done = False
    try:
        for _ in range(chosen.choice((1, 2, 2, 3))):
            if done:
                break
            done = disturb(work, out, logs, chosen)
        end = wait(start(work, out, logs), logs)
        work.log.append(f"alone -> {end.code}: {end.error.strip()[-300:]}")
        if end.code:
            assert end.is_told, end
            shutil.rmtree(out)
            end = wait(start(work, out, logs), logs)
        assert end.code == 0, end
        found = work.result(out)
        assert found == work.undisturbed, difference(found, work.undisturbed)
    except AssertionError as error:
        raise AssertionError(f"{work.name}: {error}\n" + "\n".join(work.log)) from None
    finally:
        shutil.rmtree(out, ignore_errors=True)
