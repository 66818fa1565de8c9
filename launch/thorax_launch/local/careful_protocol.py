"""uvicorn's HTTP protocol, httptools' or h11's, with limits on what a connection may do before, between and after its
requests.

h11 counts the bytes of a header; httptools, which is faster, does not; neither counts seconds, connections of a client,
the bytes around a body's pieces, or the time that an answer is not read.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

#: Bytes of a request's line and headers, at most, and seconds in which they have to come.
HEADERS, PATIENCE = 64 * 1024, 10.0
#: The least rate at which an answer has to be read, in bytes a second, and after how many seconds that is seen to.
RATE, READING = 4096, 10.0
#: Connections at once, at most. Of one client they are fewer (see Shares).
CONNECTIONS = 1000
#: File descriptors that are needed for other things.
_OTHER_FILES = 200


def connections() -> int:
    """Connections that this process can have, at most CONNECTIONS: the system's limit on open files is raised for them
    where it may be."""
    try:
        import resource
    except ImportError:  # no such limit
        return CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return CONNECTIONS
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(10, min(CONNECTIONS, soft - _OTHER_FILES))


@cache
def careful_protocol(proxies: tuple[str, ...] = ()) -> type[asyncio.Protocol]:
    """The protocol; see ServerSettings for `proxies`."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    from thorax.serving.clients import Clients, Shares

    clients, counts_bodies = Clients(proxies), hasattr(AutoHTTPProtocol, "on_body")  # h11 tells nothing of pieces
    shares = Shares(connections())
    idle: dict[str, dict[Any, None]] = {}  # of each client the connections without a request, oldest first

    class CarefulProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """Ends a connection whose headers are too large or too slow, whose pieces are too small, or whose answers are
        not read; where a client has too many, the one that is without a request for longest."""

        _client: str | None = None  # None: not counted
        _seen = 0  # bytes that are neither of a body nor of a request that has begun
        _body_seen = 0
        _unread = 0  # bytes of an answer that its caller has not taken
        _cycle: Any = None
        _timer: asyncio.TimerHandle | None = None
        _writing: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            client = clients.of_peer((self.client or ("",))[0])
            while not shares.take(client):
                if not idle.get(client):
                    transport.abort()
                    return
                oldest = next(iter(idle[client]))
                oldest.leave()
                oldest.transport.abort()
            self._client = client
            self._wait()

        def leave(self) -> None:
            """It counts no more."""
            self._stop_waiting()
            if self._client is not None:
                shares.give(self._client)
                self._client = None

        def data_received(self, data: bytes) -> None:
            before = self._body_seen
            super().data_received(data)
            if self.cycle is not self._cycle:  # a request has begun
                self._cycle, self._seen = self.cycle, 0
            if self._waiting:
                if self._timer is None:
                    self._wait()
            else:
                self._stop_waiting()
            if self._body_seen - before >= len(data) // 4 or not (counts_bodies or self._waiting):
                self._seen = 0
            else:
                self._seen += len(data)
            if self._seen > HEADERS and not self.transport.is_closing():
                self._refuse(431, "Request Header Fields Too Large")

        def on_body(self, body: bytes) -> None:
            """httptools' callback."""
            self._body_seen += len(body)
            super().on_body(body)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._waiting and not self.transport.is_closing():
                self._wait()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_reading()

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._writing is not None:
                self._writing.cancel()
                self._writing = None

        def _watch_reading(self) -> None:
            """Comes back after READING seconds, unless all has been read by then."""
            self._unread = self.transport.get_write_buffer_size()
            self._writing = self.loop.call_later(READING, self._see_reading)

        def _see_reading(self) -> None:
            if self._unread - self.transport.get_write_buffer_size() < RATE * READING:
                self.transport.abort()
            else:
                self._watch_reading()

        def connection_lost(self, exc: Exception | None) -> None:
            self.leave()
            super().connection_lost(exc)
            self.resume_writing()

        @property
        def _waiting(self) -> bool:
            """Whether no request has begun since the last one was answered."""
            return self.cycle is None or bool(self.cycle.response_complete)

        def _wait(self) -> None:
            self._stop_waiting()
            self._timer = self.loop.call_later(PATIENCE, self._late)
            if self._client is not None:
                idle.setdefault(self._client, {})[self] = None

        def _stop_waiting(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._client is not None and (mine := idle.get(self._client)) is not None:
                mine.pop(self, None)
                if not mine:
                    del idle[self._client]

        def _late(self) -> None:
            self._timer = None
            if self._waiting and not self.transport.is_closing():
                self._refuse(408, "Request Timeout")

        def _refuse(self, status: int, phrase: str) -> None:
            if self._waiting:
                head = f"HTTP/1.1 {status} {phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                self.transport.write(head.encode())
            self.transport.close()

    return CarefulProtocol
