"""A bundle under Ray Serve on this machine, from the code that travels in the bundle, as on AWS.

Run as a script it is the process that holds Ray: python serve_ray.py HOST PORT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def serve(bundle: Path, port: int, *, host: str = "127.0.0.1", show: Any = print, **settings: Any) -> int:
    """Serves a bundle until SIGTERM or Ctrl-C.

    Args:
        bundle: its folder.
        port: must be free; Ray's own ports are chosen by Ray.
        host: the address to listen at.
        show: called with the line that names the address, before the server answers there.
        settings: of ServerSettings; replicas, max_replicas, cpus and gpus too.

    Returns:
        Its exit code.

    Raises:
        ThoraxError: Ray is not installed, the folder is no bundle, or the port is taken.
    """
    from importlib.util import find_spec

    from thorax.errors import ThoraxError
    from thorax.serving.bundle import Bundle
    from thorax_launch.extras import install
    from thorax_launch.local.server_process import as_environment, run
    from thorax_launch.local.uvicorn_server import listen

    if find_spec("ray") is None:
        raise ThoraxError(f"--server ray needs Ray Serve: {install('ray')}")
    loaded = Bundle.load(bundle)
    with listen(host, port) as socket:
        port = socket.getsockname()[1]
    show(f"serving {bundle} at http://{host}:{port}/ under Ray Serve, in half a minute")
    folder = loaded.folder.resolve()
    environment = as_environment(settings) | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "code")]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
    }
    return run([sys.executable, str(Path(__file__).resolve()), host, str(port)], environment, folder)


def hold(host: str, port: int) -> None:
    """Starts Ray and the bundle's application, and holds them until SIGTERM."""
    import signal
    import threading

    import ray
    from ray import serve as ray_serve

    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    try:
        ray_serve.start(http_options={"host": host, "port": port})
        from deployment import app

        ray_serve.run(app, name="thorax", route_prefix="/")
        print("ready", flush=True)
        done.wait()
    finally:
        ray_serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


if __name__ == "__main__":
    # Only the bundle's code and what is installed: not this folder, and no installed copy of our own code before the
    # bundle's.
    sys.path = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    hold(sys.argv[1], int(sys.argv[2]))
