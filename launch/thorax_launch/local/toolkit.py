"""Runs a job directory through the real SageMaker training toolkit, and stops it without losing the work."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import IO, Protocol

from thorax.errors import ThoraxError
from thorax.tracking.progress import HOW
from thorax_launch.extras import install
from thorax_launch.local import processes
from thorax_launch.local.job_directory import JobDirectory
from thorax_launch.local.killed import killed

INTERRUPTED = 130
#: Variables of another run, which must not leak in from the shell, the notebook or the job that the launcher runs in.
_FOREIGN = ("SM_", "SAGEMAKER_", "TORCHELASTIC_", "PET_")
_FOREIGN_NAMES = {"PYTHONUNBUFFERED", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK"} | {
    "MASTER_ADDR",
    "MASTER_PORT",
}


def next_line(lines: SimpleQueue[str | None]) -> str | None:
    """The next line; None at the end. A signal that another thread of this process got is handled in between."""
    while True:
        try:
            return lines.get(timeout=0.2)
        except Empty:
            continue


class Toolkit:
    """One run of the toolkit's `train` command over a job directory, in the background.

    The toolkit does not pass SIGTERM on to the script, and Ctrl-C would reach both at once. So it runs in a session of
    its own: `stop` signals the script alone, and the rest ends after it; a script that has not ended after
    `processes.GRACE` seconds is killed. A guard process does the same when this process is killed.

    Attributes:
        stopped: whether `stop` or `kill` was called.
        began: when it was made, in seconds since 1970.
    """

    def __init__(self, job: JobDirectory, program: str) -> None:
        """
        Args:
            job: laid out.
            program: the script's file name, as in the job's sagemaker_program.
        """
        self._base, self._program, self._log = str(job.base), program, job.log
        self._environment = _environment(job)
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self.stopped, self.began = False, time.time()

    def start(self) -> None:
        """Starts the run, unless it was stopped before.

        Raises:
            ThoraxError: the toolkit is not installed.
        """
        command = _command()
        if self.stopped:
            return
        guard = _own_session(
            [sys.executable, "-P", processes.__file__, self._base, self._program], stdin=subprocess.PIPE
        )
        self._process = _own_session(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self._environment
        )
        threading.Thread(target=self._follow, args=(self._process, guard), daemon=True).start()
        if self.stopped:  # a signal came while the process was being made
            self.stop()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def lines(self) -> Iterator[str]:
        """Every line of the log as it comes, until the run has ended and no process of it is left."""
        while self._process and (line := next_line(self._lines)) is not None:
            yield line
        self._lines.put(None)  # for the next caller

    def wait(self) -> int:
        """The exit status once the run has ended: 0, `INTERRUPTED` where it was stopped, else the toolkit's."""
        for _ in self.lines():
            pass
        return INTERRUPTED if self.stopped or self._process is None else self._process.wait()

    def stop(self) -> None:
        """Asks the script to save a checkpoint and end; returns at once."""
        self.stopped = True
        if self._process:
            threading.Thread(target=processes.stop, args=(self._base, self._program), daemon=True).start()

    def kill(self) -> None:
        """Ends every process of the run at once."""
        self.stopped = True
        processes.kill(self._base)

    def _follow(self, toolkit: subprocess.Popen[bytes], guard: subprocess.Popen[bytes]) -> None:
        assert toolkit.stdout
        reader = threading.Thread(target=self._read, args=(toolkit.stdout,), daemon=True)
        reader.start()
        toolkit.wait()
        processes.kill(self._base)  # nothing may hold the log open or outlive the run
        reader.join()
        guard.communicate()
        self._lines.put(None)

    def _read(self, output: IO[bytes]) -> None:
        """Copies the output, as it comes, to the log file and to `lines` until the last process closes it."""
        with self._log.open("ab", buffering=0) as file:
            full = False
            for line in output:
                self._lines.put(line.decode("utf-8", "replace").rstrip("\n"))
                try:
                    full = full or not file.write(line)
                except OSError as error:  # the run goes on: a pipe that is not read would stop it
                    full = True
                    self._lines.put(f"warning: {self._log} is not written any more: {error.strerror}")


class Stoppable(Protocol):
    def stop(self) -> None: ...
    def kill(self) -> None: ...


@contextmanager
def stopped_by_signals(run: Stoppable) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal stop `run` with a checkpoint; a second one kills it.

    Outside the main thread, where no signal arrives, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            show("stopping: a checkpoint is being saved (once more Ctrl-C to kill the run at once)")
            run.stop()
        else:
            run.kill()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show(line: str) -> None:
    """Prints a line; where stdout is closed the run and its log go on."""
    try:
        if sys.stdout.isatty() and (bars := sys.modules.get("tqdm")):  # a bar may be there: the line goes above it
            bars.tqdm.write(line)
            sys.stdout.flush()
        else:
            print(line, flush=True)
    except (BrokenPipeError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def failure_reason(job: JobDirectory) -> str:
    """Why a run failed, in one line: the trainer's own message, or the best of the toolkit's."""
    try:
        text = job.failure.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        text = ""
    lines = text.splitlines()
    if len(lines) == 1:
        return lines[0].removeprefix("error: ")
    if told := killed(job):
        return told
    causes = [
        line.strip().removeprefix("ErrorMessage").strip(' "')
        for line in lines
        if "Error: " in line or "Exception: " in line
    ]
    causes = [line for line in causes if not line.startswith(("Framework Error", "sagemaker_training.errors"))]
    return (
        causes[-1] if causes else f"the training script ended without a message; its log is {os.path.relpath(job.log)}"
    )


def _command() -> list[str]:
    """The toolkit's `train` of this interpreter's environment.

    Raises:
        ThoraxError: it is not installed there.
    """
    script = Path(sys.executable).with_name("train")
    if not script.is_file():
        raise ThoraxError(
            f"the SageMaker training toolkit is not installed in {sys.prefix}; run: make setup, or {install('train')}"
        )
    # -u: the log is live; PYTHONUNBUFFERED would also be inherited and split the script's lines
    return [sys.executable, "-u", str(script)]


def _environment(job: JobDirectory) -> dict[str, str]:
    """What a training container has set, and what a laptop needs besides."""
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN) and key not in _FOREIGN_NAMES
    }
    own = {
        "SAGEMAKER_BASE_DIR": str(job.base),
        "SAGEMAKER_TRAINING_MODULE": "sagemaker_pytorch_container.training:main",
        "SM_STUDIO_LOCAL_MODE": "True",  # host names are not looked up
        "TRAINING_JOB_NAME": job.base.name,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), clean.get("PATH", os.defpath)]),  # torchrun
        "PET_MASTER_PORT": str(_free_port()),  # torchrun's default port serves one run per machine
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_QUIET": "1",  # the toolkit installs requirements.txt; here they are met already
    }
    if sys.stdout.isatty():
        wide = {"COLUMNS": str(shutil.get_terminal_size().columns)}  # so that tables fit
        clean = wide | clean
        if clean.get(HOW, "bar") == "bar":  # the launcher draws it; the user may say otherwise
            clean[HOW] = f"file:{job.progress}"
    return {**clean, **own}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _own_session(command: list[str], **options: object) -> subprocess.Popen[bytes]:
    start: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
    return start(command, start_new_session=True, **options)
