"""Local jobs in processes of their own: a stand-in for the trainer, and a launcher that is watched and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from contract.tiny import REPO, processes_naming
from warm_python import PYTHON

TRAIN = [sys.executable, str(REPO / "launch" / "train.py")]

#: A stand-in for train_model.py; its mode is the hyperparameter `objective`, which TrainingConfig lets through.
SCRIPT = """
import json, os, signal, sys, time
base, rank = os.environ["SAGEMAKER_BASE_DIR"], os.environ.get("RANK", "0")
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
mode = options["--objective"]
def leave(place, text=""):
    with open(f"{base}/{place}", "w") as file:
        file.write(text)
if mode == "auc":
    leave(f"model/argv{rank}.json", json.dumps(sys.argv[1:]))
elif mode == "f1":
    leave("output/failure", "labels=A names one label\\n")
    sys.exit(3)
elif mode == "accuracy" and options["--seed"] == "9":  # as the kernel does where memory has run out
    if rank == str(int(os.environ.get("WORLD_SIZE", "1")) - 1):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(300)
elif mode == "accuracy":
    raise KeyError("eight")
elif mode == "balanced_accuracy":  # what the toolkit takes for a success
    leave("output/failure", "a peer is gone\\n")
    print("terminate called after throwing an instance of 'gloo::EnforceNotMet'", file=sys.stderr)
    sys.exit(1)
elif mode == "loss":
    stop = []
    if options["--seed"] == "1":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    if os.fork() == 0:  # a worker that gets no signal: it holds the log open and outlives its parent
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(300)
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    while not stop:
        time.sleep(0.05)
    leave(f"checkpoints/{rank}", "saved")
    os._exit(0)
"""

#: launch/train.py with other code to run.
DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, {launch!r})
from thorax_launch.cli.local_jobs import run_job
from thorax_launch.hyperparameters import from_settings
from thorax_launch import local, paths
from thorax.errors import ThoraxError
paths.source_dir = lambda: Path("source")
try:
    job = local.train("demo", {{"train": "images"}}, hyperparameters=from_settings(sys.argv[2:]), job_name="it",
                      processes=int(sys.argv[1]))
    sys.exit(run_job(job, "the same command with --job-name it"))
except ThoraxError as error:
    print("error:", error, file=sys.stderr)
    sys.exit(1)
"""


def launch(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """launch/train.py with these arguments, to its end."""
    return subprocess.run(
        [PYTHON, *TRAIN[1:], *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=200, check=False
    )


class Running:
    """A launcher in a session of its own, as a shell's job is, with its output as it comes."""

    def __init__(self, command: list[str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, text: str, times: int = 1) -> None:
        until(lambda: sum(text in line for line in self.lines) >= times, f"{text!r} in {self.lines}")

    def ctrl_c(self) -> None:
        """As the terminal does: SIGINT to the whole group in the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> int:
        code = self.process.wait(timeout=200)
        self._reader.join(timeout=10)
        return code


def until(done: Callable[[], bool], what: str, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


def start(place: Path, *settings: str, processes: int = 1) -> Running:
    return Running([sys.executable, "driver.py", str(processes), *settings], place)


def place_of(tmp_path: Path) -> Iterator[Path]:
    """A folder with images and stand-in code; afterwards nothing that was started in it may be alive."""
    (tmp_path / "images").mkdir()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "train_model.py").write_text(SCRIPT)
    (tmp_path / "driver.py").write_text(DRIVER.format(launch=str(REPO / "launch")))
    yield tmp_path
    left = list(processes_naming(str(tmp_path)))
    for process in left:
        process.kill()
    assert left == []
