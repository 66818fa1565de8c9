"""GDCM in a child process, since some damaged images crash the process that GDCM decodes them in.

Each process that needs it has one child, started with the first such image and ended with its parent.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from thorax.data.decoders.framing import receive, send
from thorax.data.decoders.limits import UnsupportedImage

#: Seconds that one image may take.
LONGEST = 60.0
_SOURCE = Path(__file__).resolve().parents[3]
_START = (
    f"import sys; sys.path.insert(0, {str(_SOURCE)!r}); from thorax.data.decoders import decoder_process;"
    " decoder_process.serve()"
)
_children: dict[int, subprocess.Popen[bytes]] = {}
_lock = threading.Lock()


def decode_with_gdcm(data: bytes) -> tuple[np.ndarray, str]:
    """The samples of a whole DICOM file, and their photometric interpretation.

    Raises:
        UnsupportedImage: GDCM cannot decode it, crashes, or takes more than LONGEST.
    """
    with _lock:
        child = _children.get(os.getpid()) or _started()
        watch = threading.Timer(LONGEST, child.kill)
        watch.start()
        try:
            send(cast(BinaryIO, child.stdin), data)
            problem, kind, samples = (receive(cast(BinaryIO, child.stdout)) for _ in range(3))
        except (OSError, EOFError):
            _end()
            raise UnsupportedImage(
                "the decoder of its transfer syntax broke off: its compressed image is damaged"
            ) from None
        finally:
            watch.cancel()
    if problem:
        raise UnsupportedImage(problem.decode())
    return np.load(io.BytesIO(samples), allow_pickle=False), kind.decode()


def serve() -> None:
    """The child: DICOM files on standard input, samples on standard output, until the parent ends."""
    from thorax.data.decoders import dicom  # the one import circle: dicom starts the child, the child uses dicom

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries print to standard error instead
    while True:
        try:
            data = receive(sys.stdin.buffer)
        except EOFError:
            return
        problem, kind, samples = "", "", io.BytesIO()
        try:
            pixels, kind = dicom.by_plugin(data, "gdcm")
            np.save(samples, pixels, allow_pickle=False)
        except Exception as error:
            problem = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        for part in (problem.encode(), kind.encode(), samples.getvalue()):
            send(answers, part)


def _started() -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    if not _children:
        atexit.register(_end)
    _children.clear()  # a forked process must not use its parent's child
    _children[os.getpid()] = child
    return child


def _end() -> None:
    if child := _children.pop(os.getpid(), None):
        child.kill()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                cast(BinaryIO, pipe).close()
        child.wait()
