"""A bundle behind an address of this machine: a handle on a server in a process of its own."""

from __future__ import annotations

import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from thorax.errors import ThoraxError
from thorax_launch.clients import ServerClient, predict_all
from thorax_launch.paths import child_command

#: Seconds that a server has to answer requests after it has named its address: Ray Serve takes half a minute.
READY = 180.0
#: Seconds that it has to end once it is asked to.
GRACE = 30


class LocalEndpoint:
    """A server on this machine; as a context manager it is deleted at the end of the block.

    Attributes:
        address: such as http://127.0.0.1:40123/; the web page is there, POST /invocations takes images.
    """

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self._process, self.address = process, address

    def __repr__(self) -> str:
        return f"<LocalEndpoint {self.address}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.delete()

    def predict(self, images: Iterable[str | Path | bytes]) -> list[dict[str, Any]]:
        """The answer about each image: labels, probabilities, thresholds, decisions, predicted.

        Args:
            images: files, or their content.

        Raises:
            ThoraxError: an image cannot be read, or the server does not answer.
        """
        return predict_all(ServerClient(self.address), images)

    def delete(self) -> None:
        """Stops the server; it answers what it has begun."""
        self._process.terminate()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def deploy(bundle: str | Path, *, server: str = "app", port: int = 0) -> LocalEndpoint:
    """Serves a bundle on this machine, in a process of its own.

        >>> from thorax_launch import local
        >>> with local.deploy("runs/NAME/model") as endpoint:
        ...     endpoint.predict(["image.jpeg"])[0]["predicted"]

    Args:
        bundle: the model folder of a finished job.
        server: app (uvicorn), ray (Ray Serve, as AWS's image) or torchserve (as AWS's older image).
        port: 0: a free one.

    Returns:
        The endpoint, which answers.

    Raises:
        ThoraxError: it does not start; the message is its own.
    """
    words = ["--local", str(bundle), "--server", server, "--port", str(port)]
    # A session of its own: Ctrl-C reaches this process alone, which then ends the server.
    process = subprocess.Popen(
        [*child_command("deploy"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return LocalEndpoint(process, _address(process))
    except BaseException:
        process.kill()
        process.wait()
        raise


def _address(process: subprocess.Popen[str]) -> str:
    """The address that the server prints, once it answers there."""
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        if found := re.search(r"https?://\S+", line):
            # From here on its output is read and dropped: a full pipe would stop it.
            threading.Thread(target=lambda: deque(process.stdout or (), maxlen=0), daemon=True).start()
            _wait_until_healthy(process, found[0])
            return found[0]
        last = line.strip() or last
    raise ThoraxError(last.removeprefix("error: ") or f"the server ended with exit code {process.wait()}")


def _wait_until_healthy(process: subprocess.Popen[str], address: str) -> None:
    end = time.monotonic() + READY
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{address}ping", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    state = "does not answer" if process.poll() is None else f"ended with exit code {process.returncode}"
    raise ThoraxError(f"the server at {address} {state}; run the same with `thorax deploy --local` to see its log")
