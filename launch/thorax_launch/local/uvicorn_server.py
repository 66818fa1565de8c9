"""An application on this machine, under uvicorn, until SIGTERM or Ctrl-C; then it answers what it has begun."""

from __future__ import annotations

import asyncio
import secrets
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from thorax.errors import ThoraxError

if TYPE_CHECKING:
    from thorax.serving.settings import ServerSettings

#: Bytes of a request's line and headers, at most, and seconds in which they have to come.
HEADERS, PATIENCE = 64 * 1024, 10.0
#: Connections at once, at most; further ones are closed.
CONNECTIONS = 1000
#: What --token without a value asks for: a new one.
NEW = "new"


def run(app: Any, socket: Any, settings: ServerSettings) -> None:
    """Serves an application at a listening socket until the process is asked to stop."""
    server_of(app, settings).run([socket])


def server_of(app: Any, settings: ServerSettings) -> Any:
    """uvicorn's server of an application, guarded as the settings say (see `Guard`)."""
    import uvicorn

    from thorax.serving.guard import Guard

    config = uvicorn.Config(
        Guard(app, settings.hosts, settings.token),
        http=careful_protocol(),
        log_config=None,  # uvicorn's own closes the handlers of other packages, some of them with standard error
        log_level="warning",
        access_log=False,
        backlog=512,
        timeout_graceful_shutdown=round(settings.drain_s),
    )
    return uvicorn.Server(config)


@contextmanager
def stoppable(host: str, port: int) -> Iterator[Any]:
    """A socket that listens; SIGTERM and Ctrl-C end the block, and are no error.

    Raises:
        ThoraxError: the port is taken, or needs more rights.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: uvicorn drains, then raises it again
    with listen(host, port) as socket, suppress(KeyboardInterrupt):
        yield socket


def token_of(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with a new token where one is asked for by NEW."""
    return {**settings, "token": secrets.token_urlsafe(24)} if settings.get("token") == NEW else settings


def shown(host: str, socket: Any, settings: ServerSettings, path: str = "/") -> str:
    """The address to open."""
    place = f"[{host}]" if ":" in host else host
    return f"http://{place}:{socket.getsockname()[1]}{path}" + (f"?token={settings.token}" if settings.token else "")


@cache
def careful_protocol() -> type[asyncio.Protocol]:
    """uvicorn's protocol, httptools' or h11's, with limits on what comes before a request has begun.

    h11 counts the bytes of a header; httptools, which is faster, does not; neither counts seconds.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class CarefulProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """Ends a connection whose headers are too large or too slow."""

        _seen = 0
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > CONNECTIONS:
                transport.abort()
                return
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if not self._waiting:
                self._seen = 0
                self._stop_waiting()
                return
            self._seen += len(data)
            if self._seen > HEADERS and not self.transport.is_closing():
                self._refuse(431, "Request Header Fields Too Large")
            elif self._timer is None:
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        @property
        def _waiting(self) -> bool:
            """Whether no request has begun since the last one was answered."""
            return self.cycle is None or bool(self.cycle.response_complete)

        def _wait(self) -> None:
            self._timer = self.loop.call_later(PATIENCE, self._late)

        def _stop_waiting(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _late(self) -> None:
            self._timer = None
            if self._waiting and not self.transport.is_closing():
                self._refuse(408, "Request Timeout")

        def _refuse(self, status: int, phrase: str) -> None:
            head = f"HTTP/1.1 {status} {phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(head.encode())
            self.transport.close()

    return CarefulProtocol


def listen(host: str, port: int) -> Any:
    """A socket that listens.

    Raises:
        ThoraxError: the port is taken, or needs more rights.
    """
    import socket

    # of uvicorn, where Ctrl-C comes between the line with the address and its loop
    warnings.filterwarnings("ignore", "coroutine 'Server.serve' was never awaited", RuntimeWarning)
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(512)  # requests may come as soon as the address is printed
    except (OSError, OverflowError) as error:
        listening.close()
        raise ThoraxError(
            f"--port {port} on {host} cannot be used: {getattr(error, 'strerror', None) or error}; choose another, or 0"
            " for a free one"
        ) from None
    return listening
