"""The process that works for a server's DecodePool: it decodes images, and reads bodies, one after another.

On standard input it gets its settings, then for each piece of work a JSON object and the bytes; on standard output it
gives a JSON object, and a message of bytes for each part that the object names.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from thorax.data.decoders.framing import receive, send
from thorax.data.images import DecodeError, Preprocessing, header
from thorax.serving.arrays import NormalizedImage, NumberTable
from thorax.serving.request import InferenceRequest, RequestError, ResponseOptions
from thorax.serving.settings import ServerSettings


def serve() -> None:
    """Works until the server ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries print to standard error instead
    try:
        settings = json.loads(receive(sys.stdin.buffer))
        os.nice(settings["nice"])
        prepared, limits = Preprocessing.from_dict(settings["preprocessing"]), ServerSettings(**settings["limits"])
        limit_memory(settings["memory"])
        send(answers, b"ready")
        while True:
            asked, data = json.loads(receive(sys.stdin.buffer)), receive(sys.stdin.buffer)
            limit_cpu(asked["seconds"])
            told, parts = _done(asked, data, prepared, limits)
            limit_cpu(None)
            for part in (json.dumps(told).encode(), *parts):
                send(answers, part)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _done(
    asked: dict[str, Any], data: bytes, prepared: Preprocessing, limits: ServerSettings
) -> tuple[dict[str, Any], list[bytes]]:
    """What one piece of work gives: {"status": 0} and the parts, or the status of its error and why."""
    try:
        if "name" in asked:
            return {"status": 0}, [_npy(_image(data, asked["name"], prepared, limits))]
        from thorax.serving.readers import READERS  # late: few bodies are read here

        return packed(READERS[asked["content_type"]].read(data, asked["parameters"], limits))
    except RequestError as error:
        return {"status": error.status, "problem": str(error)}, []
    except DecodeError as error:
        return {"status": 400, "problem": str(error)}, []
    except MemoryError:
        what = asked.get("name", "the body")
        return {"status": 400, "problem": f"{what} cannot be read: there is not enough memory for it"}, []


def _image(data: bytes, name: str, prepared: Preprocessing, limits: ServerSettings) -> np.ndarray:
    about = header(data, name)
    if about.height * about.width > limits.max_pixels:
        raise DecodeError(
            f"{name} has {about.width}x{about.height} pixels, more than the {limits.max_pixels} that this server reads"
        )
    return prepared.image(data, name)


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


# -- A request over a pipe, without pickle -----------------------------------------------------------------------------


def packed(request: InferenceRequest) -> tuple[dict[str, Any], list[bytes]]:
    """A request that has been read, as a JSON object and the bytes of its images."""
    kinds: list[list[Any]] = []
    parts: list[bytes] = []
    for image in request.images:
        if isinstance(image, DecodeError):
            kinds.append(["error", str(image)])
            continue
        if isinstance(image, bytes):
            kinds.append(["file"])
        elif isinstance(image, NormalizedImage):
            kinds.append(["normalized"])
        elif isinstance(image, NumberTable):
            kinds.append(["table", image.normalized, image.most])
        else:
            kinds.append(["pixels"])
        held = image.values if isinstance(image, NormalizedImage | NumberTable) else image
        parts.append(held if isinstance(held, bytes) else _npy(held))
    options = request.options
    about = {"explain": options.explain, "label": options.label, "normalized": options.normalized}
    return {"status": 0, "several": request.several, "options": about, "images": kinds}, parts


def unpacked(told: dict[str, Any], pipe: BinaryIO) -> InferenceRequest:
    """The request that `packed` made; its parts come from the pipe.

    Raises:
        EOFError: they do not come.
        ValueError: they are no arrays.
    """
    images: list[Any] = []
    for kind, *more in told["images"]:
        if kind == "error":
            images.append(DecodeError(*more))
            continue
        part = receive(pipe)
        images.append(part if kind == "file" else _image_of(kind, np.load(io.BytesIO(part), allow_pickle=False), more))
    return InferenceRequest(images, told["several"], ResponseOptions(**told["options"]))


def _image_of(kind: str, values: np.ndarray, more: list[Any]) -> np.ndarray | NormalizedImage | NumberTable:
    """An image of an array, as `packed` named its kind."""
    if kind == "table":
        return NumberTable(values, *more)
    return NormalizedImage(values) if kind == "normalized" else values


# -- Limits ------------------------------------------------------------------------------------------------------------


def limit_memory(size: int) -> None:
    """This process may use so many bytes more than now; nothing where the system has no such limit."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + size
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def limit_cpu(seconds: float | None) -> None:
    """The system kills this process where it uses so many CPU seconds more than now, and those that it starts a little
    later; None: no limit any more. Nothing where the system has no such limits."""
    with suppress(AttributeError, OSError, ValueError):
        signal.setitimer(signal.ITIMER_PROF, max(0.001, seconds) if seconds is not None else 0.0)  # then SIGPROF
    if seconds is None:
        return
    with suppress(ImportError, OSError, ValueError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime + seconds) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
