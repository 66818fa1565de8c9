"""Several bundles in one container: on our app under uvicorn, and (slow) on the real TorchServe toolkit of AWS's image.

What SageMaker sends is its contract of multi-model endpoints: POST /models with a name and the folder into which it has
unpacked the bundle, POST /models/NAME/invoke, GET and DELETE /models/NAME.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

import images
from conftest import clean_environment
from hosting import ROOT, free_port, tiny_bundle
from thorax.serving.classifier import Classifier
from thorax.serving.pipeline import answer
from thorax.serving.request import RawRequest
from thorax_launch.clients import ServerClient
from thorax_launch.sagemaker.containers import environment

PNG = images.data(images.grey())
IMAGE = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two, with other labels, where SageMaker unpacks them: /opt/ml/models/NAME/model."""
    root = tmp_path_factory.mktemp("models")
    return {
        "findings": tiny_bundle(root / "findings" / "model"),
        "binary": tiny_bundle(root / "binary" / "model", images.BINARY),
    }


def expected(folder: Path) -> list[float]:
    """The answer of the bundle in this process, in the precision of the servers: auto may measure another on each."""
    found: list[float] = json.loads(
        answer(Classifier.load(folder, precision="float32"), RawRequest(PNG, "image/png")).body
    )
    return found


@contextmanager
def running(words: list[str], address: str, folder: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a folder that answers GET /ping; it and its children are ended."""
    process = subprocess.Popen(
        [sys.executable, *words], env={**clean_environment(THORAX_PRECISION="float32"), **variables}, cwd=folder
    )
    try:
        for _ in range(600):
            try:
                if requests.get(f"{address}/ping", timeout=5).status_code == 200:
                    break
            except (requests.ConnectionError, requests.Timeout):
                assert process.poll() is None
            time.sleep(0.2)
        else:
            raise AssertionError("no /ping")
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        for child in children:
            child.terminate()
        process.wait(timeout=60)
        for child in psutil.wait_procs(children, timeout=30)[1]:
            child.kill()


def hold(address: str, bundles: dict[str, Path], loaded: str) -> None:
    """SageMaker's life of two bundles; `loaded`: status of a second load of a name."""
    for name, folder in bundles.items():
        asked = {"model_name": name, "url": str(folder)}
        assert requests.post(f"{address}/models", json=asked, timeout=120).status_code == 200
        assert str(requests.post(f"{address}/models", json=asked, timeout=120).status_code) == loaded
    for name, folder in bundles.items():
        answered = requests.post(f"{address}/models/{name}/invoke", PNG, headers=IMAGE, timeout=60)
        assert answered.status_code == 200, answered.text
        assert np.allclose(answered.json(), expected(folder), atol=1e-5)
    assert {one["modelName"] for one in requests.get(f"{address}/models", timeout=20).json()["models"]} == set(bundles)
    assert requests.delete(f"{address}/models/binary", timeout=60).status_code == 200
    assert requests.post(f"{address}/models/binary/invoke", PNG, headers=IMAGE, timeout=60).status_code == 404
    assert requests.post(f"{address}/models/findings/invoke", PNG, headers=IMAGE, timeout=60).status_code == 200


def test_our_app_in_an_image_of_ones_own(bundles: dict[str, Path], tmp_path: Path) -> None:
    port = free_port()
    words = ["-m", "uvicorn", "--factory", "thorax.serving.multi_app:application", "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    with running(words, address, tmp_path, PYTHONPATH=str(ROOT / "source_dir"), THORAX_WORKERS="1"):
        hold(address, bundles, "409")


def test_deploy_local_with_two_bundles(bundles: dict[str, Path], tmp_path: Path) -> None:
    port = free_port()
    words = [str(ROOT / "launch" / "deploy.py"), "--local", "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    named = [f"{name}={folder}" for name, folder in bundles.items()]
    with running([*words, *named], address, tmp_path, THORAX_WORKERS="1"):
        for name, folder in bundles.items():
            client = ServerClient(address, name)
            response = client.send(PNG, "image/png", "application/json", "")
            assert np.allclose(json.loads(response.body), expected(folder), atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("java"), reason="TorchServe needs Java 17")
def test_the_toolkit_of_awss_torchserve_image(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Started as AWS's image starts it, with the variable by which SageMaker says that there are several models."""
    for module in ("ts", "model_archiver", "sagemaker_pytorch_serving_container"):
        pytest.importorskip(module)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    started = {
        **environment("torchserve", "ml.m5.large", {}, several=True),
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "TS_INFERENCE_ADDRESS": address,
        "TS_MANAGEMENT_ADDRESS": address,
        "TS_METRICS_ADDRESS": f"http://127.0.0.1:{port + 1}",
        "TS_DISABLE_SYSTEM_METRICS": "true",
        "SAGEMAKER_BASE_DIR": str(tmp_path),
        "TEMP": str(tmp_path),
        "LOG_LOCATION": str(tmp_path),
        "PYTHONPATH": "",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    script = str(ROOT / "launch" / "thorax_launch" / "local" / "serve_torchserve.py")
    with running([script, str(tmp_path)], address, tmp_path, **started):
        hold(address, bundles, "409")
