"""Runs a job directory through the real SageMaker training toolkit, and stops it without losing the work."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from thorax.errors import ThoraxError
from thorax_launch.local import processes
from thorax_launch.local.job_directory import JobDirectory

INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: A run's own variables, which must not leak in from the shell, the notebook or the job that the launcher runs in.
_FOREIGN = ("SM_", "SAGEMAKER_", "TORCHELASTIC_", "PET_")
_FOREIGN_NAMES = {
    "PYTHONUNBUFFERED",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
}


class Toolkit:
    """One run of the toolkit's `train` command over a job directory.

    The toolkit does not hand a SIGTERM on to the script, and a Ctrl-C would reach both at once. So it runs in a
    session of its own; on Ctrl-C, SIGTERM or a closed terminal the script alone is told, and the rest ends after it.
    A second Ctrl-C, or a script that is not done in `processes.GRACE` seconds, kills all. A guard process does the
    same should the launcher itself be killed.
    """

    def __init__(self, job: JobDirectory, program: str, hear: Callable[[str], None] | None = None) -> None:
        """
        Args:
            job: laid out.
            program: the script's file name, as in the job's sagemaker_program.
            hear: takes every line of the log, in place of stdout.
        """
        self._base = str(job.base)
        self._log = job.log
        self._program = program
        self._environment = _environment(job)
        self._toolkit: subprocess.Popen[bytes] | None = None
        self._signals = 0
        self._hear = hear or _say

    def run(self) -> int:
        """Runs to the end, the log going to stdout and to output/train.log.

        Returns:
            0 for success, `INTERRUPTED` where a signal stopped it, else the toolkit's exit code.

        Raises:
            ThoraxError: the toolkit is not installed.
        """
        command = _command()
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        guard = _own_session(
            [sys.executable, "-P", processes.__file__, self._base, self._program], stdin=subprocess.PIPE
        )
        try:
            return self._run(command)
        finally:
            processes.kill(self._base)
            guard.communicate()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run(self, command: list[str]) -> int:
        if self._signals:
            return INTERRUPTED
        self._toolkit = _own_session(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self._environment
        )
        if self._signals:  # it came while the process was being made
            self.end_script()
        pump = threading.Thread(target=_pump, args=(self._toolkit, self._log, self._hear), daemon=True)
        pump.start()
        code = self._toolkit.wait()
        processes.kill(self._base)  # nothing may hold the log open or outlive the run
        pump.join()
        return INTERRUPTED if self._signals else code

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals == 1:
            _say("stopping: a checkpoint is being saved (once more Ctrl-C to kill the run at once)")
            if self._toolkit:
                self.end_script()
        else:
            processes.kill(self._base)

    def end_script(self) -> None:
        """Tells the script to save and end; returns at once."""
        threading.Thread(target=processes.stop, args=(self._base, self._program), daemon=True).start()


def _command() -> list[str]:
    """The toolkit's `train` of this interpreter's environment.

    Raises:
        ThoraxError: it is not installed there.
    """
    script = Path(sys.executable).with_name("train")
    if not script.is_file():
        raise ThoraxError(
            f"the SageMaker training toolkit is not installed in {sys.prefix}; run: make setup, or pip install -e"
            " '.[train]'"
        )
    return [
        sys.executable,
        "-u",
        str(script),
    ]  # -u: the log is live; PYTHONUNBUFFERED would also shred the script's lines


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
    return {**clean, **own}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _own_session(command: list[str], **options: object) -> subprocess.Popen[bytes]:
    start: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
    return start(command, start_new_session=True, **options)


def _pump(toolkit: subprocess.Popen[bytes], log: Path, hear: Callable[[str], None]) -> None:
    """Copies the run's output, as it comes, to the log file and to `hear` until the last process closes it."""
    assert toolkit.stdout
    with log.open("ab", buffering=0) as file:
        full = False
        for line in toolkit.stdout:
            hear(line.decode("utf-8", "replace").rstrip("\n"))
            try:
                full = full or not file.write(line)
            except OSError as error:  # the run goes on: who does not read its pipe would stop it
                full = True
                _say(f"warning: {log} is not written any more: {error.strerror}")


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except (BrokenPipeError, ValueError):  # nobody listens any more; the run and its log go on
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def last_words(job: JobDirectory) -> str:
    """Why a run failed, in one line: the trainer's own words, or the best of the toolkit's."""
    try:
        told = job.failure.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        told = ""
    lines = told.splitlines()
    if len(lines) == 1:
        return lines[0].removeprefix("error: ")
    causes = [
        line.strip().removeprefix("ErrorMessage").strip(' "')
        for line in lines
        if "Error: " in line or "Exception: " in line
    ]
    causes = [line for line in causes if not line.startswith(("Framework Error", "sagemaker_training.errors"))]
    if causes:
        return causes[-1]
    return f"the training script ended without saying why; its log is {os.path.relpath(job.log)}"
