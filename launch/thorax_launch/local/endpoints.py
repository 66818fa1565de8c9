"""The app in a process of its own, for as long as it is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thorax.errors import ThoraxError
from thorax_launch.paths import child_environment

#: Seconds that it has to end once it is asked to.
GRACE = 30


@contextmanager
def running_app(bundle: Path, port: int = 0) -> Iterator[str]:
    """Serves the bundle; gives the address, such as http://127.0.0.1:40123/, once the model answers there.

    Raises:
        ThoraxError: it does not start; the message is its own.
    """
    command = [sys.executable, "-m", "thorax_launch", "deploy", "--local", str(bundle), "--port", str(port)]
    # A session of its own: Ctrl-C is ours to hand on.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=child_environment(),
    )
    assert process.stdout is not None
    said = ""
    try:
        for line in process.stdout:
            if found := re.search(r"https?://\S+", line):
                yield found[0]
                break
            said = line.strip() or said
        else:
            raise ThoraxError(said.removeprefix("error: ") or f"the app ended with exit code {process.wait()}")
    finally:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
