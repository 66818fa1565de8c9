"""A `python` and a `thorax` that start at once: each is a fork of an interpreter that holds torch and others' packages.

Importing these is most of what a short command costs. A fork has none of this project's modules: it imports
them from its own PYTHONPATH. It gets the words, environment, folder and the three standard files of the command that
was started, whose process stays as its stand-in: it has the command line, passes signals on, and ends as the fork ends.

    with warm_python(folder) as bin:    # first in PATH

All tests share one: see PYTHON. Not for commands in namespaces or
limits of their own, nor for tests of what is imported or of what a process's entry in /proc says.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import io
import json
import multiprocessing.spawn  # noqa: F401  it remembers sys.executable as it is now, whatever a test makes of it
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image

#: Not SageMaker's toolkit, which reads its environment when it is imported.
PACKAGES = (
    *("torch", "torchvision", "numpy", "psutil", "yaml", "rich.console", "rich.table", "tqdm", "jinja2"),
    *("sklearn.metrics", "matplotlib.figure", "matplotlib.backends.backend_agg", "pydicom", "starlette.applications"),
    *("uvicorn", "prometheus_client", "optuna", "boto3", "torch.optim.lr_scheduler", "torch.utils.data", "scipy.stats"),
    *("paramiko", "retrying", "werkzeug", "httpx", "starlette.staticfiles", "sklearn.ensemble", "pyarrow"),
)
#: The tests' `python`: conftest.py keeps it alive for a run and all of its workers. Without Linux it is the plain one.
_PLACE = f"{tempfile.gettempdir()}/warm-{os.getpid()}/bin/python"
PYTHON = os.environ.setdefault("WARM_PYTHON", _PLACE if hasattr(os, "pidfd_open") else sys.executable)
#: The stand-in of a command; it runs without site-packages, in milliseconds.
STAND_IN = """
import json, os, signal, socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.connect({address!r})
message = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(s, [struct.pack("I", len(message))], [0, 1, 2])
s.sendall(message)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, lambda number, _: s.send(bytes([number])))
status = s.recv(4)
code = struct.unpack("i", status)[0] if status else 70
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextmanager
def warm_python(folder: Path, at_once: bool = False) -> Iterator[Path]:
    """A folder with `python`, `python3`, `thorax`, and the toolkit's `train`, as long as the block lasts.

    Args:
        folder: a short, empty one.
        at_once: whether the packages are imported now, and not at the first command.
    """
    address, bin = str(folder / "socket"), folder / "bin"
    bin.mkdir()
    (folder / "stand_in.py").write_text(STAND_IN.format(address=address))
    code = f"-cexec(open({str(folder / 'stand_in.py')!r}).read())"
    for name in ("python", "python3"):
        _executable(bin / name, f'#!/bin/sh\nexec {sys.executable} -S -E -s "{code}" "$@"\n')
    entry = "import sys\nfrom thorax_launch.cli import main\nsys.exit(main())\n"
    (folder / "entry").mkdir()
    (folder / "entry" / "thorax").write_text(entry)
    _executable(bin / "thorax", f'#!/bin/sh\nexec {bin}/python -P {folder}/entry/thorax "$@"\n')
    _executable(bin / "torchrun", f'#!/bin/sh\nexec {bin}/python -m torch.distributed.run "$@"\n')
    if (train := Path(sys.executable).with_name("train")).exists():
        (bin / "train").symlink_to(train)
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    server = subprocess.Popen(
        [sys.executable, "-P", __file__, address, str(bin / "python"), *(["now"] if at_once else [])],
        env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,  # its end is the server's
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout and server.stdout.readline() == b"ready\n"
        yield bin
    finally:
        server.communicate()


def _executable(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)


def serve(address: str, executable: str, at_once: bool) -> None:
    """Forks for each command, until its standard input ends, as it does with the process that started it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    print("ready", flush=True)
    imported = at_once and _import()
    while sys.stdin not in (ready := select.select([listener, sys.stdin], [], [], 1.0)[0]):
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not ready:
            continue
        connection, _ = listener.accept()
        imported = imported or _import()
        if not os.fork():
            listener.close()
            _supervise(connection, executable)
        connection.close()


def _import() -> bool:
    for name in PACKAGES:
        with suppress(ImportError):
            importlib.import_module(name)
    Image.init()
    gc.collect()
    gc.freeze()
    return True


def _supervise(connection: socket.socket, executable: str) -> None:
    """Forks the command, passes its stand-in's signals on, and tells it the exit code; a stand-in that is gone takes it
    along."""
    (size, files) = _received(connection)
    message = b""
    while len(message) < size and (part := connection.recv(size - len(message))):
        message += part
    words, folder, environment = json.loads(message)
    pid = os.fork()
    if not pid:
        connection.close()
        _become(files, folder, environment)
        _run(words, environment, executable)
    for file in (0, 1, 2, *files):
        os.close(file)
    end = os.pidfd_open(pid)
    while True:
        ready, _, _ = select.select([connection, end], [], [])
        if end in ready:
            with suppress(OSError):
                connection.send(struct.pack("i", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
            os._exit(0)
        for number in connection.recv(16) or [signal.SIGKILL]:
            os.kill(pid, number)


def _received(connection: socket.socket) -> tuple[int, list[int]]:
    data, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_LEN(3 * array.array("i").itemsize))
    files = array.array("i")
    files.frombytes(ancillary[0][2])
    return struct.unpack("I", data)[0], list(files)


def _become(files: list[int], folder: str, environment: dict[str, str]) -> None:
    """A process as a shell starts it."""
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    direct = bool(environment.get("PYTHONUNBUFFERED"))
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = open(number, "wb", closefd=False)  # noqa: SIM115  as long as the process
        live = direct or number == 2
        text = io.TextIOWrapper(raw, "utf-8", line_buffering=live or os.isatty(number), write_through=live)
        setattr(sys, name, text)
        setattr(sys, f"__{name}__", text)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115


def _run(words: list[str], environment: dict[str, str], executable: str) -> None:
    """Does what the interpreter does with these words, and ends."""
    own = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    options: list[str] = []
    while words and words[0].startswith("-") and words[0] not in ("-c", "-m"):
        options.append(words.pop(0))
        if options[-1] == "--":
            break
    if set(options) - {"-u", "-P", "-B", "--"} or not words:
        os.execv(sys.executable, [sys.executable, *options, *words])
    if "-u" in options:
        sys.stdout.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]
    how = words.pop(0) if words[0] in ("-c", "-m") else ""
    first = "" if how == "-c" else os.getcwd() if how else os.path.dirname(os.path.realpath(words[0]))
    sys.path[:] = [*([] if "-P" in options else [first]), *own, *sys.path]
    importlib.invalidate_caches()
    sys.executable = executable
    sys.argv[:] = [how if how == "-c" else words[0], *words[1:]]
    os._exit(_exit_code(lambda: _main(how, words[0])))


def _main(how: str, what: str) -> None:
    if how == "-c":
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(what, "<string>", "exec"), space)
    elif how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(what, run_name="__main__")


def _exit_code(run: Any) -> int:
    code = 0
    try:
        run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code != end.code and end.code is not None:
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = 130
    except BaseException:
        traceback.print_exc()
        code = 1
    with suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    return code & 255


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3:] == ["now"])
