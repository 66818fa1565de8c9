"""Processes that decode images which are not proven cheap: each image within a time and a memory of its own.

A child is started with the first such image, stays for the next ones, and is killed and replaced where an image takes
too long. Children yield to the server's own work: they get what CPU it leaves.
"""

from __future__ import annotations

import io
import json
import os
import queue
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from thorax.data.decoders.framing import receive, send
from thorax.data.images import DecodeError, Preprocessing, header
from thorax.machine import free_cpus
from thorax.serving.request import RequestError

#: Bytes that a child may use for one image beyond its own, at most.
MEMORY = 2 * 2**30
#: Seconds that one image may take, at most.
LONGEST = 10.0
#: How far a child yields (man 2 nice).
NICE = 5
#: Images that wait for a child, for each child, at most.
WAITING = 4
_SOURCE = Path(__file__).resolve().parents[2]
_START = (
    f"import sys; sys.path.insert(0, {str(_SOURCE)!r}); from thorax.serving import decode_pool; decode_pool.serve()"
)


class DecodePool:
    """Decodes images as `Preprocessing.image` does, in child processes.

    Args:
        preprocessing: of the bundle.
        max_pixels: of one image, by its header.
        processes: children, at most; default: the CPUs that are free.
    """

    def __init__(self, preprocessing: Preprocessing, max_pixels: int, processes: int | None = None) -> None:
        self._settings = json.dumps(
            {"preprocessing": preprocessing.to_dict(), "max_pixels": max_pixels, "memory": MEMORY}
        ).encode()
        self.processes = processes or max(1, free_cpus())
        self._places: queue.LifoQueue[_Child | None] = queue.LifoQueue()  # the one used last is tried first
        for _ in range(self.processes):
            self._places.put(None)
        self._waiting, self._lock, self._closed = 0, threading.Lock(), False

    def prepare(self, data: bytes, name: str, deadline: float) -> np.ndarray:
        """One image decoded and brought to the network's size.

        Args:
            data: of its file.
            name: stands for it in errors.
            deadline: of time.monotonic(), by which it must be done.

        Raises:
            DecodeError: it cannot be read, or not within its time and memory.
            RequestError: 503, all children are busy.
        """
        with self._place(deadline) as place:
            child = place.pop() or _Child(self._settings)
            left = min(LONGEST, deadline - time.monotonic())
            try:
                image = child.decode(data, name, left)
            except _Ended as error:
                raise DecodeError(f"{name} cannot be read: {error}") from None
            finally:
                place.append(child if child.alive else None)
            return image

    @contextmanager
    def _place(self, deadline: float) -> Iterator[list[_Child | None]]:
        """A child, or None where it has to be started, as the only entry of a list; what is in it then goes back."""
        with self._lock:
            if self._closed or self._waiting >= WAITING * self.processes:
                raise RequestError(503, "too many images that take long to decode; try again later")
            self._waiting += 1
        try:
            place = [self._places.get(timeout=max(0.0, deadline - time.monotonic()))]
        except queue.Empty:
            raise RequestError(503, "other images take long to decode; try again later") from None
        finally:
            with self._lock:
                self._waiting -= 1
        try:
            yield place
        finally:
            self._places.put(place[0] if place else None)

    def close(self) -> None:
        """Ends the children; images that are being decoded fail."""
        self._closed = True
        with suppress(queue.Empty):
            while True:
                if child := self._places.get_nowait():
                    child.end()


class _Ended(Exception):  # noqa: N818  becomes a DecodeError
    """Why a child gave no image."""


class _Child:
    """One process that decodes, seen from the server."""

    def __init__(self, settings: bytes) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._in, self._out = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        self.alive, self._late = True, False
        with suppress(OSError):
            send(self._in, settings)

    def decode(self, data: bytes, name: str, seconds: float) -> np.ndarray:
        """The prepared image.

        Raises:
            DecodeError: the child says that it cannot be read.
            _Ended: the child took more than `seconds`, or broke off.
        """
        watch = threading.Timer(max(0.0, seconds), self._end_late)
        watch.start()
        try:
            for part in (struct.pack("<d", seconds), name.encode("utf-8", "replace"), data):
                send(self._in, part)
            problem, image = receive(self._out), receive(self._out)
        except (OSError, EOFError):
            self.end()
            why = f"it takes more than {seconds:.3g} seconds" if self._late else "its decoder broke off"
            raise _Ended(f"{why}; it is damaged, or made to take long") from None
        finally:
            watch.cancel()
        if problem:
            raise DecodeError(problem.decode())
        return cast(np.ndarray, np.load(io.BytesIO(image), allow_pickle=False))

    def _end_late(self) -> None:
        self._late = True
        self._process.kill()

    def end(self) -> None:
        """Kills it."""
        self.alive = False
        self._process.kill()
        for pipe in (self._in, self._out):
            with suppress(OSError):
                pipe.close()
        self._process.wait()


# -- The child ---------------------------------------------------------------------------------------------------------


def serve() -> None:
    """The child: images on standard input, prepared ones on standard output, until the server ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries print to standard error instead
    os.nice(NICE)
    try:
        settings = json.loads(receive(sys.stdin.buffer))
        prepared = Preprocessing.from_dict(settings["preprocessing"])
        limit_memory(settings["memory"])
        while True:
            (seconds,) = struct.unpack("<d", receive(sys.stdin.buffer))
            name, data = receive(sys.stdin.buffer).decode(), receive(sys.stdin.buffer)
            limit_cpu(seconds)
            problem, image = "", io.BytesIO()
            try:
                about = header(data, name)
                if about.height * about.width > settings["max_pixels"]:
                    raise DecodeError(
                        f"{name} has {about.width}x{about.height} pixels, more than the {settings['max_pixels']} that"
                        " this server reads"
                    )
                np.save(image, prepared.image(data, name), allow_pickle=False)
            except DecodeError as error:
                problem = str(error)
            except MemoryError:
                problem = f"{name} cannot be read: there is not enough memory for it"
            for part in (problem.encode("utf-8", "replace"), b"" if problem else image.getvalue()):
                send(answers, part)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def limit_memory(size: int) -> None:
    """This process may use so many bytes more than now; nothing where the system has no such limit."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + size
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def limit_cpu(seconds: float) -> None:
    """This process, and those that it starts, may use so many CPU seconds more than now; the system kills them then."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime + max(0.0, seconds)) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
