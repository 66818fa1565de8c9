"""An application on this machine, under uvicorn, until SIGTERM or Ctrl-C; then it answers what it has begun."""

from __future__ import annotations

import secrets
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from thorax.errors import ThoraxError
from thorax_launch.local.careful_protocol import careful_protocol

if TYPE_CHECKING:
    from thorax.serving.settings import ServerSettings

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
        http=careful_protocol(settings.proxies),
        ws="none",
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
