"""Executes a page (see pages.py) in a folder of its own: one warm shell, one interpreter, one free port."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hosting import free_port
from pages import Step
from shell import Shell
from warm_python import warm_python

ROOT = Path(__file__).resolve().parents[2]
#: The port that pages write; a free one stands for it.
PORT = "8080"
#: What the interpreter of `python` blocks is: it runs each file that is named on a line, in one namespace.
INTERPRETER = """
import sys
space = {"__name__": "__main__"}
for line in iter(sys.stdin.readline, ""):
    file, done = line.split()
    try:
        exec(compile(open(file).read(), "page", "exec"), space)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    sys.stdout.flush()
    open(done, "w").close()
"""


def environment(folder: Path, path: Path | None) -> dict[str, str]:
    """That of a person without an AWS account, with this checkout's packages, and caches in `folder`."""
    strange = ("AWS_", "SM_", "SAGEMAKER_", "THORAX_", "PYTEST_", "COV_")
    kept = {key: text for key, text in os.environ.items() if not key.startswith(strange)}
    own = {
        "PYTHONPATH": f"{ROOT / 'source_dir'}{os.pathsep}{ROOT / 'launch'}",
        "PATH": os.pathsep.join([*([str(path)] if path else []), kept["PATH"]]),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "MPLCONFIGDIR": str(folder / "cache"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(folder / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(folder / "sdk.yaml"),
        "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": str(folder / "sdk.yaml"),
        "OMP_NUM_THREADS": "1",
        "PIP_NO_DEPS": "1",  # each job has pip look whether its requirements are there: a second instead of three
        "COLUMNS": "100",
        "LC_ALL": "C.UTF-8",
    }
    (folder / "sdk.yaml").write_text("")
    return {**kept, **own}


@contextmanager
def walking(folder: Path) -> Iterator[Callable[[Step], str]]:
    """A function that executes a step of a page in `folder`/page, and returns what it writes."""
    place, port = folder / "page", str(free_port())
    place.mkdir()
    with (
        tempfile.TemporaryDirectory(prefix="warm") as warm,
        warm_python(Path(warm)) as bin,
        Shell(place, environment(folder, bin)) as shell,
    ):
        (folder / "interpreter.py").write_text(INTERPRETER)
        (folder / "printed").touch()
        shell.run(f"mkfifo {folder}/code; python {folder}/interpreter.py < {folder}/code >> {folder}/printed 2>&1 &")
        shell.run(f"exec 7> {folder}/code")

        def execute(step: Step) -> str:
            code = step.code.replace(f":{PORT}", f":{port}").replace(f"--port {PORT}", f"--port {port}")
            if step.kind == "python":
                (folder / "block.py").write_text(code)
                before = (folder / "printed").stat().st_size
                done = folder / "done"
                shell.run(f"echo {folder}/block.py {done} >&7; until [ -e {done} ]; do sleep 0.05; done; rm {done}")
                written = (folder / "printed").read_bytes()[before:].decode()
            else:
                written, _ = shell.run(code, step.interrupt)
            return written.replace(f":{port}", f":{PORT}").replace(str(place), "/home/me/page")

        yield execute
