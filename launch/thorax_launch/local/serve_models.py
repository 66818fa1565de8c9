"""Several bundles on this machine, under uvicorn, by SageMaker's contract of multi-model endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thorax_launch.local.uvicorn_server import run, shown, stoppable, token_of
from thorax_launch.names import bundle_names


def serve(bundles: Sequence[str], port: int, *, host: str = "127.0.0.1", show: Any = print, **settings: Any) -> int:
    """Serves bundles until SIGTERM or Ctrl-C, then answers what it has begun.

    Args:
        bundles: folders, each as NAME=FOLDER, or named after the job that made it.
        port: 0: a free one.
        host: the address to listen at; the default is this machine alone.
        show: called with a line for each bundle's address, once the server answers there.
        settings: of ServerSettings; they win over the environment.

    Returns:
        Exit code 0.

    Raises:
        ThoraxError: no bundle, a damaged one, two of one name, a wrong setting, or the port is taken.
    """
    from thorax.serving.multi_app import create_multi_app
    from thorax.serving.service import Service
    from thorax.serving.settings import ServerSettings

    chosen = ServerSettings.from_environment(**token_of(settings))
    folders = {name: Path(where) for name, where in bundle_names(bundles).items()}
    with stoppable(host, port) as socket:
        services = {folder: Service.start(folder, chosen) for folder in folders.values()}  # wrong ones end it here
        app = create_multi_app(lambda folder: services.pop(folder, None) or Service.start(folder, chosen), folders)
        for name, folder in folders.items():
            show(f"serving {folder} at {shown(host, socket, chosen, f'/models/{name}/invoke')}")
        run(app, socket, chosen)
    return 0
