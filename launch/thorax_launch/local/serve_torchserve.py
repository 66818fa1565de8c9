"""A bundle under TorchServe on this machine, started by SageMaker's own toolkit as in AWS's image of PyTorch 2.6.

TorchServe is unmaintained: this is for checking that a bundle runs there. Run as a script it is the process that holds
it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NEEDED = {
    "ts": "torchserve",
    "model_archiver": "torch-model-archiver",
    "sagemaker_inference": "sagemaker-inference",
    "sagemaker_pytorch_serving_container": "sagemaker-pytorch-inference",
    "yaml": "pyyaml",
}


def serve(bundle: Path, port: int, *, host: str = "127.0.0.1", show: Any = print, **settings: Any) -> int:
    """Serves a bundle until SIGTERM or Ctrl-C.

    Args:
        bundle: its folder.
        port: must be free, and the next two as well (TorchServe's management and metrics).
        host: must be this machine: TorchServe's management has no password.
        show: called with the line that names the address, before the server answers there.
        settings: of ServerSettings; `workers` are TorchServe's processes.

    Returns:
        Its exit code.

    Raises:
        ThoraxError: Java or a package is missing, the folder is no bundle, or a port is taken.
    """
    import shutil
    from importlib.util import find_spec

    from thorax.errors import ThoraxError
    from thorax.serving.bundle import Bundle
    from thorax_launch.extras import install
    from thorax_launch.local.server_process import as_environment, run
    from thorax_launch.local.uvicorn_server import listen

    if host not in ("127.0.0.1", "localhost"):
        raise ThoraxError(
            f"--host {host}: TorchServe listens on 127.0.0.1 only, because its management interface can run code"
        )
    if not shutil.which("java"):
        raise ThoraxError(
            "--server torchserve needs Java 17: install a JRE (Debian: apt-get install default-jre-headless)"
        )
    if missing := [package for module, package in NEEDED.items() if find_spec(module) is None]:
        raise ThoraxError(f"--server torchserve needs {', '.join(missing)}: {install('torchserve')}")
    loaded = Bundle.load(bundle)
    with listen(host, port) as socket:
        port = socket.getsockname()[1]
    workers = settings.pop("workers", 0) or 1
    with TemporaryDirectory(prefix="torchserve-") as base:
        (Path(base) / "model").symlink_to(loaded.folder.resolve())
        show(f"serving {bundle} at http://127.0.0.1:{port}/ under TorchServe, in ten seconds")
        started = as_environment(settings) | environment(base, port, workers)
        return run([sys.executable, str(Path(__file__).resolve()), base], started, Path(base))


def environment(base: str, port: int, workers: int) -> dict[str, str]:
    """The variables under which the toolkit serves base/model at this port of 127.0.0.1; workers 0: one per CPU."""
    addresses = {
        f"TS_{name}_ADDRESS": f"http://127.0.0.1:{port + k}"
        for k, name in enumerate(("INFERENCE", "MANAGEMENT", "METRICS"))
    }
    return (
        addresses
        | ({"SAGEMAKER_MODEL_SERVER_WORKERS": str(workers)} if workers else {})
        | {
            "SAGEMAKER_BASE_DIR": base,
            "TS_DISABLE_SYSTEM_METRICS": "true",
            "TEMP": base,
            "LOG_LOCATION": base,
            "PYTHONPATH": "",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        }
    )


def hold(base: str) -> None:
    """Starts TorchServe as AWS's image does, with its configuration file where we may write."""
    from sagemaker_pytorch_serving_container import torchserve

    torchserve.TS_CONFIG_FILE = os.path.join(base, "ts.properties")
    torchserve.start_torchserve()


if __name__ == "__main__":
    hold(sys.argv[1])
