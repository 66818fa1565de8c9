"""Load for a server on this machine.

Clients that keep their connections, in one event loop and in bare bytes, to cost little.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np


@dataclass(frozen=True)
class Asked:
    """One request, as the bytes that go over the wire."""

    wire: bytes

    @classmethod
    def image(
        cls,
        content: bytes,
        content_type: str = "image/jpeg",
        path: str = "/invocations",
        accept: str = "application/json",
    ) -> Asked:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nAccept:"
            f" {accept}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return cls(head.encode("latin-1", "replace") + content)


@dataclass(frozen=True)
class Timed:
    """What a run of load came to: seconds of each request in order of their ends, and of all together."""

    seconds: np.ndarray
    total: float

    @property
    def per_second(self) -> float:
        return len(self.seconds) / self.total

    def percentile(self, q: float) -> float:
        """In milliseconds."""
        return float(np.percentile(self.seconds, q)) * 1000


def run(
    port: int,
    requests: Sequence[Asked],
    clients: int,
    told: Callable[[int, int, bytes], None] = lambda k, status, body: None,
    address: str = "",
    until: float = float("inf"),
) -> Timed:
    """Sends all requests to 127.0.0.1, each client its next as soon as its last is answered.

    Args:
        told: gets each request's number, status and answer.
        address: of each client its own, with {} for its number; default: they have one.
        until: of time.perf_counter(), after which no request is begun.
    """
    return asyncio.run(_run(port, requests, clients, told, address, until))


async def _run(
    port: int,
    requests: Sequence[Asked],
    clients: int,
    told: Callable[[int, int, bytes], None],
    address: str,
    until: float,
) -> Timed:
    waiting = takewhile(lambda k: time.perf_counter() < until, range(len(requests)))
    seconds: list[float] = []

    async def client(number: int) -> None:
        place = (address.format(number), 0) if address else None
        reader = writer = None
        for k in waiting:
            began = time.perf_counter()
            if writer is None or reader is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=place)
            writer.write(requests[k].wire)
            status, keep, body = await _answer(reader)
            seconds.append(time.perf_counter() - began)
            told(k, status, body)
            if not keep:
                writer.close()
                reader = writer = None
        if writer is not None:
            writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(client(k + 1) for k in range(clients)))
    return Timed(np.array(seconds), time.perf_counter() - start)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    return int(head.split(b" ", 2)[1]), b"connection: close" not in head, await reader.readexactly(length)


def listening(port: int) -> int:
    """The process that listens at a port."""
    import psutil

    found = [c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr and c.laddr.port == port]
    return int(found[0] or 0)
