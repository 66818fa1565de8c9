"""A real app around a tiny bundle, and the same behind the Lambda and an endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import handler
import numpy as np
import pytest
from PIL import Image

import images
import lambda_stand_ins
from hosting import tiny_bundle
from thorax_launch.local import deploy


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app, without the last slash."""
    with deploy(tiny_bundle(tmp_path_factory.mktemp("bundle"))) as endpoint:
        yield endpoint.address.rstrip("/")


@pytest.fixture
def behind_aws(app: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an HTTP API whose Lambda asks an endpoint before the app."""
    with lambda_stand_ins.endpoint("chest", app) as runtime:
        at_aws(monkeypatch, runtime)
        with lambda_stand_ins.http_api(handler.lambda_handler) as address:
            yield address


def at_aws(monkeypatch: pytest.MonkeyPatch, runtime: str) -> None:
    """The environment in which a Lambda's boto3 asks the endpoint at `runtime`."""
    environment = {
        "ENDPOINT_NAME": "chest",
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": runtime,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    handler.runtime.cache_clear()


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """image.png, second.jpeg, large.png (more than 1 MB) and notes.jpeg, which is no image."""
    folder = tmp_path_factory.mktemp("shelf")
    images.put(folder / "image.png", images.data(images.smooth(300, 240)))
    images.put(folder / "second.jpeg", images.data(images.smooth(260, 400), "JPEG"))
    noise = np.random.default_rng(0).integers(0, 255, (1100, 1000), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "large.png")
    (folder / "notes.jpeg").write_text("These are notes, no image.")
    return folder
