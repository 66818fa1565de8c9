"""The app on this machine, under uvicorn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thorax.tracking.progress import busy
from thorax_launch.local.uvicorn_server import run, shown, stoppable, token_of


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
    from thorax.serving.app import create_app
    from thorax.serving.service import Service
    from thorax.serving.settings import ServerSettings

    chosen = ServerSettings.from_environment(**token_of(settings))
    with stoppable(host, port) as socket:
        with busy("loading the bundle"):
            service = Service.start(bundle, chosen)
        print(service.classifier.choice, flush=True)
        show(f"serving {bundle} at {shown(host, socket, chosen)}")
        run(create_app(lambda: service), socket, chosen)
    return 0
