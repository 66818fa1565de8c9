"""The app on this machine, under uvicorn."""

from __future__ import annotations

import signal
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.tracking.progress import busy


def serve(bundle: Path, port: int, *, host: str = "127.0.0.1", show: Any = print, **settings: Any) -> int:
    """Serves a bundle until SIGTERM or Ctrl-C, then answers what it has begun.

    Args:
        bundle: its folder.
        port: 0: a free one.
        host: the address to listen at; the default is this machine alone.
        show: called with the line that names the address, once the server answers there.
        settings: of ServerSettings; they win over the environment.

    Returns:
        Exit code 0.

    Raises:
        ThoraxError: no bundle, a damaged one, a wrong setting, or the port is taken.
    """
    import uvicorn

    from thorax.serving.app import create_app
    from thorax.serving.service import Service
    from thorax.serving.settings import ServerSettings

    chosen = ServerSettings.from_environment(**settings)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: uvicorn drains, then raises it again
    with listen(host, port) as socket, suppress(KeyboardInterrupt):
        with busy("loading the bundle"):
            service = Service.start(bundle, chosen)
        print(service.classifier.choice, flush=True)
        show(f"serving {bundle} at http://{host}:{socket.getsockname()[1]}/")
        config = uvicorn.Config(
            create_app(lambda: service),
            log_level="warning",
            access_log=False,
            backlog=512,
            timeout_graceful_shutdown=round(chosen.drain_s),
            h11_max_incomplete_event_size=64 * 1024,
        )
        uvicorn.Server(config).run([socket])
    return 0


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
