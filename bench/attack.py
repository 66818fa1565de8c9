"""Hostile clients of a server on this machine, each with an address of its own, until they are stopped.

    python bench/attack.py PORT SECONDS [SHARE]

Sixteen send the worst files found, one after another; others do what else is known: requests that cost much, almost
good requests, headers and bodies that trickle or stop, connections without a request, answers that are not read. It
prints what was answered, as JSON, and ends. It runs at a low priority: what an attack costs the attacker is not
what is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle

from PIL import Image

import hostile
from load import Asked

SENDERS, ADDRESSES = 16, "127.0.1.{}"


class Attack:
    """Attributes:
    answered: number of answers, by what was asked and the status; "-": the connection was closed.
    """

    def __init__(self, port: int, image: bytes, share: float = 1.0) -> None:
        self.port, self.image = port, image
        self.worst = hostile.files(share)
        self.requests = hostile.requests(image, self.worst, share)
        self.answered: Counter[tuple[str, str]] = Counter()

    async def run(self, seconds: float) -> None:
        """Attacks for so long."""
        senders = [self.send(k, self._files(k)) for k in range(1, SENDERS + 1)]
        others = [self.send(20 + k, self._requests(k)) for k in range(4)]
        odd = [self.send(30, self._mutations()), self.trickle(31), self.stop(32), self.crowd(33), self.deaf(34),
               self.pipeline(35), self.endless(36)]  # fmt: skip
        tasks = [asyncio.create_task(work) for work in (*senders, *others, *odd)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(found, Exception):
                raise found

    def _files(self, k: int) -> Iterator[tuple[str, bytes]]:
        names = list(self.worst)
        for name in cycle(names[k % len(names) :] + names[: k % len(names)]):
            yield name, Asked.image(self.worst[name], "application/octet-stream").wire

    def _requests(self, k: int) -> Iterator[tuple[str, bytes]]:
        found = [(name, wire) for name, wires in self.requests.items() for wire in wires]
        random.Random(k).shuffle(found)
        return cycle(found)

    def _mutations(self) -> Iterator[tuple[str, bytes]]:
        chance = random.Random(1)
        for asked in hostile.mutations(
            [self.image, *(body for body in self.worst.values() if len(body) < 300_000)], chance
        ):
            yield "almost good", asked.wire

    async def send(self, number: int, wires: Iterator[tuple[str, bytes]]) -> None:
        """Sends one request after another, at once after each answer."""
        for name, wire in wires:
            try:
                reader, writer = await asyncio.wait_for(self._connect(number), 20)
            except OSError:
                await asyncio.sleep(0.2)
                continue
            try:
                writer.write(wire)
                line = await asyncio.wait_for(reader.readline(), 120)
                self.answered[name, line.split(b" ")[1].decode() if line.count(b" ") > 1 else "-"] += 1
            except (OSError, TimeoutError):
                self.answered[name, "-"] += 1
            finally:
                writer.transport.abort()
            if line.startswith(b"HTTP/1.1 429"):
                await asyncio.sleep(0.05)

    async def trickle(self, number: int) -> None:
        """Sixty-four bodies, a byte a second, begun again when they are cut off."""

        async def one() -> None:
            head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 9999\r\n\r\n"
            await self._hold(number, head, b"\xff")

        await asyncio.gather(*(one() for _ in range(64)))

    async def stop(self, number: int) -> None:
        """Headers that stop, and some that go on by a letter a second."""
        head = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX: "
        await asyncio.gather(*(self._hold(number, head, b"a" if k % 2 else b"") for k in range(140)))

    async def crowd(self, number: int) -> None:
        """As many connections as there may be, without a request."""
        await asyncio.gather(*(self._hold(number, b"", b"") for _ in range(900)))

    async def deaf(self, number: int) -> None:
        """Asks for heat maps again and again on a connection, and reads nothing."""
        wire = hostile._explained(Asked.image(self.image, accept="application/json;verbose")).wire
        await asyncio.gather(*(self._hold(number, wire * 4, wire) for _ in range(4)))

    async def pipeline(self, number: int) -> None:
        """A thousand requests in one go."""
        await asyncio.gather(
            *(self._hold(number, b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000, b"") for _ in range(4))
        )

    async def endless(self, number: int) -> None:
        """A body of pieces of one byte that does not end."""
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
        await asyncio.gather(*(self._hold(number, head, b"1\r\nx\r\n" * 4000, 0.05) for _ in range(4)))

    async def _hold(self, number: int, first: bytes, more: bytes, pause: float = 1.0) -> None:
        """A connection that is opened again two seconds after it is closed."""
        while True:
            writer = None
            try:
                reader, writer = await self._connect(number)
                writer.write(first)
                while not (writer.transport.is_closing() or reader.at_eof()):
                    await asyncio.sleep(pause)
                    if more and writer.transport.get_write_buffer_size() < 10_000_000:
                        writer.write(more)
            except OSError:
                pass
            finally:
                if writer is not None:
                    writer.transport.abort()
            await asyncio.sleep(2)

    async def _connect(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(ADDRESSES.format(number), 0))

    def summary(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for (name, status), count in sorted(self.answered.items()):
            found.setdefault(name, {})[status] = count
        return found


def main() -> None:
    port, seconds, share = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3] if len(sys.argv) > 3 else 1)
    attack = Attack(port, hostile.encoded(Image.linear_gradient("L"), "JPEG"), share)
    print("ready", flush=True)
    os.nice(10)
    began = time.monotonic()
    asyncio.run(attack.run(seconds))
    print(json.dumps({"seconds": round(time.monotonic() - began, 1), "answered": attack.summary()}))


if __name__ == "__main__":
    main()
