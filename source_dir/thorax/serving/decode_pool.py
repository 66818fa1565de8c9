"""Processes that decode images which are not proven cheap: each image within a time and a memory of its own.

There are two lanes. What may take about a second goes by the first; what is known to take longer, or took longer there,
by the second, whose children get only the CPU that all others leave. So ordinary images never wait for costly ones, and
in each lane clients have their turns. A child is started with the first image, stays for the next ones, and is killed
and replaced where one takes too long.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np

from thorax.data.decoders.framing import receive, send
from thorax.data.images import DecodeError, Preprocessing
from thorax.machine import free_cpus
from thorax.serving.clients import UNKNOWN, Shares
from thorax.serving.decode_child import unpacked
from thorax.serving.image_cost import ORDINARY, cost
from thorax.serving.request import InferenceRequest, RequestError
from thorax.serving.settings import ServerSettings
from thorax.serving.turns import Turns

#: Bytes that a child may use for one image beyond its own, at most.
MEMORY = 2 * 2**30
#: CPU seconds that one image may take: in the first lane, before it goes on by the second, and there.
BRIEF, LONGEST = 2 * ORDINARY, 10.0
#: How far the children of the lanes yield to the server's own work (man 2 nice).
NICE, SLOW_NICE = 5, 19
#: Seconds of work, as it is estimated, that a lane takes on, for each of its children, at most.
AHEAD = 30.0
_SOURCE = Path(__file__).resolve().parents[2]
_START = (
    f"import sys; sys.path.insert(0, {str(_SOURCE)!r}); from thorax.serving import decode_child; decode_child.serve()"
)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Task:
    """A piece of work for a child.

    Attributes:
        name: stands for it in errors.
        asked: what the child is told (see decode_child).
        data: the bytes.
        cost: CPU seconds, about.
        client: for whom.
        deadline: of time.monotonic(), by which it must be done.
    """

    name: str
    asked: dict[str, Any]
    data: bytes
    cost: float
    client: str
    deadline: float


class DecodePool:
    """Decodes images as `Preprocessing.image` does, and reads bodies as READERS do, in child processes.

    Args:
        preprocessing: of the bundle.
        limits: of the server.
        processes: children of the first lane, at most; default: the CPUs that are free. The second has half as many.
    """

    def __init__(
        self, preprocessing: Preprocessing, limits: ServerSettings | None = None, processes: int | None = None
    ) -> None:
        shown = dataclasses.replace(limits or ServerSettings(), token="")
        about = {"preprocessing": preprocessing.to_dict(), "limits": dataclasses.asdict(shown), "memory": MEMORY}
        processes = processes or max(1, free_cpus())
        self.brief = _Lane({**about, "nice": NICE}, processes)
        self.slow = _Lane({**about, "nice": SLOW_NICE}, max(1, processes // 2))

    def prepare(self, data: bytes, name: str, deadline: float, client: str = UNKNOWN) -> np.ndarray:
        """One image decoded and brought to the network's size.

        Args:
            data: of its file.
            name: stands for it in errors.
            deadline: of time.monotonic(), by which it must be done.
            client: for whom (see Clients).

        Raises:
            DecodeError: it cannot be read, or not within its time and memory.
            RequestError: 429, the client's images take too long; 503, all clients' do.
        """
        task = Task(name, {"name": name}, data, cost(data), client, deadline)
        return self._run(task, lambda told, pipe: np.load(BytesIO(receive(pipe)), allow_pickle=False))

    def read(self, body: bytes, content_type: str, parameters: str, deadline: float, client: str) -> InferenceRequest:
        """The request in a body that holds so many values that reading them takes long.

        Raises:
            RequestError: what its reader raises; 400, it takes too long; 429, 503 as `prepare`.
        """
        seconds = 2e-7 * len(body)  # lists of one number each; of other lists it is a third
        task = Task(
            "the body", {"content_type": content_type, "parameters": parameters}, body, seconds, client, deadline
        )
        try:
            return self._run(task, unpacked)
        except DecodeError as error:
            raise RequestError(400, str(error)) from None

    def _run(self, task: Task, result: Callable[[dict[str, Any], BinaryIO], Result]) -> Result:
        if task.cost <= ORDINARY:
            try:
                return self.brief.run(task, BRIEF, result)
            except _TooLong:
                task = dataclasses.replace(task, cost=LONGEST)
        try:
            return self.slow.run(task, LONGEST, result)
        except _TooLong as error:
            raise DecodeError(str(error)) from None

    def close(self) -> None:
        """Ends the children; images that are being decoded fail."""
        self.brief.close()
        self.slow.close()


class _Ended(Exception):  # noqa: N818  becomes a DecodeError
    """Why a child gave nothing."""


class _TooLong(_Ended):
    """It would have taken more CPU seconds."""


class _Lane:
    """Children that do work of one kind."""

    def __init__(self, settings: dict[str, Any], processes: int) -> None:
        self._settings = json.dumps(settings).encode()
        self._turns = Turns(processes)
        self._ahead = Shares(AHEAD * processes)
        self._idle: list[_Child] = []  # the one used last is taken first
        self._lock, self._closed = threading.Lock(), False

    def run(self, task: Task, seconds: float, result: Callable[[dict[str, Any], BinaryIO], Result]) -> Result:
        """What a child makes of the task.

        Raises:
            DecodeError: the child says why it cannot be read, or breaks off.
            RequestError: what the child says; 429, 503.
            _TooLong: it took more than so many CPU seconds.
        """
        with self._admitted(task), self._child() as child:
            try:
                return child.do(task, seconds, result)
            except _TooLong:
                raise
            except _Ended as error:
                raise DecodeError(str(error)) from None

    @contextmanager
    def _admitted(self, task: Task) -> Iterator[None]:
        amount = min(max(task.cost, 0.1), LONGEST)
        if not self._ahead.take(task.client, amount):
            if self._ahead.used + amount > self._ahead.limit:
                raise RequestError(503, "too many images that take long to decode; try again later")
            raise RequestError(429, "your images take long to decode; send the next when one is answered")
        try:
            with self._turns.turn(task.client, task.deadline, amount):
                yield
        except TimeoutError:
            raise RequestError(503, "other images take long to decode; try again later") from None
        finally:
            self._ahead.give(task.client, amount)

    @contextmanager
    def _child(self) -> Iterator[_Child]:
        with self._lock:
            if self._closed:
                raise RequestError(503, "the server is stopping")
            child = self._idle.pop() if self._idle else _Child(self._settings)
        try:
            yield child
        except BaseException:
            if child.busy:
                child.end()
            raise
        finally:
            with self._lock:
                if child.alive and not self._closed:
                    self._idle.append(child)
                else:
                    child.end()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().end()


class _Child:
    """One process that works, seen from the server."""

    def __init__(self, settings: bytes) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._in, self._out = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        self.alive, self._ready, self._late = True, False, False
        self.busy = False  #: whether an answer of it may still come
        with suppress(OSError):
            send(self._in, settings)

    def do(self, task: Task, seconds: float, result: Callable[[dict[str, Any], BinaryIO], Result]) -> Result:
        """What the child makes of a task.

        Raises:
            DecodeError: the child says that an image cannot be read.
            RequestError: the child says that a body cannot be read.
            _TooLong: it took more than so many CPU seconds.
            _Ended: it was not done at the deadline, or the child broke off.
        """
        left = task.deadline - time.monotonic()
        watch = threading.Timer(max(0.0, left), self._end_late)
        watch.start()
        self.busy = True
        try:
            if not self._ready:
                self._ready = receive(self._out) == b"ready"
            left = task.deadline - time.monotonic()
            send(self._in, json.dumps({**task.asked, "seconds": seconds}).encode())
            send(self._in, task.data)
            told = json.loads(receive(self._out))
            made = None if told["status"] else result(told, self._out)
        except (OSError, EOFError, ValueError, KeyError):
            self.end()
            raise self._why(task, seconds, left) from None
        finally:
            watch.cancel()
        self.busy = False
        if made is None:
            problem = str(told["problem"])
            raise DecodeError(problem) if "name" in task.asked else RequestError(told["status"], problem)
        return made

    def _why(self, task: Task, seconds: float, left: float) -> _Ended:
        """Why the child has ended."""
        used_up = self._process.returncode in (-signal.SIGPROF, -signal.SIGXCPU) if sys.platform != "win32" else False
        if self._late or used_up:
            what = f"it takes more than {min(seconds, max(left, 0.0)) if self._late else seconds:.3g} seconds"
        else:
            what = "its decoder broke off"
        text = f"{task.name} cannot be read: {what}; it is damaged, or made to take long"
        return _TooLong(text) if used_up and not self._late else _Ended(text)

    def _end_late(self) -> None:
        self._late = True
        self._process.kill()

    def end(self) -> None:
        """Ends it."""
        self.alive = False
        self._process.kill()
        for pipe in (self._in, self._out):
            with suppress(OSError):
                pipe.close()
        self._process.wait()
