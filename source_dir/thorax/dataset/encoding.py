"""Images as they are packed: read, decoded once, and encoded anew where that is wanted; by N processes, in order."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple, Protocol

from PIL import Image

from thorax.data.decoders import DecodeError, decode
from thorax.data.decoders.limits import Scaled
from thorax.data.source import Source
from thorax.errors import ThoraxError

#: Images that a process is given at once, and how many such tasks wait for each process.
CHUNK, WAITING = 8, 4
_MAGIC = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"), (b"P5", ".pgm"))


class Wanted(Protocol):
    """How images are to be stored; see the command's arguments."""

    @property
    def size(self) -> str: ...
    @property
    def encode(self) -> str: ...
    @property
    def quality(self) -> int: ...


class Encoded(NamedTuple):
    """An image as it is packed: its place in the listing, suffix and bytes; or why it cannot be."""

    place: int
    suffix: str
    data: bytes
    problem: str = ""


def encoded(images: Iterable[tuple[int, Source]], wanted: Wanted, processes: int) -> Iterator[Encoded]:
    """The images, in their order; a few wait in memory, never all.

    Raises:
        ThoraxError: a process died.
    """
    settings = (wanted.size, wanted.encode, wanted.quality)
    images = iter(images)
    if processes == 1:
        for place, source in images:
            yield encode(place, source, *settings)
        return
    with ProcessPoolExecutor(processes, initializer=_start) as pool:
        waiting: deque[Future[list[Encoded]]] = deque()
        try:
            while True:
                while len(waiting) < processes * WAITING and (chunk := list(islice(images, CHUNK))):
                    waiting.append(pool.submit(_encode_all, chunk, settings))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            raise ThoraxError(
                "a process that reads images died, perhaps for want of memory; give --processes 1 to see at which image"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Ctrl-C is the main process's to answer; when that one is killed, this one ends too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _encode_all(images: list[tuple[int, Source]], settings: tuple[str, str, int]) -> list[Encoded]:
    return [encode(place, source, *settings) for place, source in images]


def encode(place: int, source: Source, size: str, kind: str, quality: int) -> Encoded:
    """One image.

    Args:
        place: in the listing.
        source: where it is.
        size: short side in pixels, such as 256; WIDTHxHEIGHT for a stretched image; "" for its own size.
        kind: keep (the file as it is), or jpeg, png or raw (PGM): one grey channel of 8 bits.
        quality: of a JPEG, 1..100.
    """
    if isinstance(source, Path) and source.exists() and not source.is_file():
        return Encoded(place, "", b"", f"{source} cannot be read: it is not a file")  # a pipe would be waited for
    try:
        data = source.read_bytes() if isinstance(source, Path) else source.read()
        pixels = decode(data, str(source), scaled_to(size))
    except OSError as error:
        return Encoded(place, "", b"", f"{source} cannot be read: {error.strerror}")
    except (DecodeError, ThoraxError) as error:
        return Encoded(place, "", b"", str(error))
    if kind == "keep":
        return Encoded(place, _suffix(source, data), data)
    if kind == "raw":
        return Encoded(place, ".pgm", b"P5 %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes())
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind.upper(), **({"quality": quality} if kind == "jpeg" else {}))
    return Encoded(place, ".jpg" if kind == "jpeg" else ".png", out.getvalue())


def scaled_to(size: str) -> Scaled | None:
    """Maps (width, height) of an image to those that it is packed with; see `encode`."""
    if not size:
        return None
    if "x" in size:
        width, height = map(int, size.split("x"))
        return lambda *_: (width, height)
    short = int(size)
    return lambda width, height: (
        max(short, round(width * short / min(width, height))),
        max(short, round(height * short / min(width, height))),
    )


def _suffix(source: Source, data: bytes) -> str:
    """By content; an image in a larger file has no name of its own."""
    if data[128:132] == b"DICM":
        return ".dcm"
    return next(
        (suffix for magic, suffix in _MAGIC if data.startswith(magic)),
        source.suffix.lower() if isinstance(source, Path) else ".jpg",
    )
