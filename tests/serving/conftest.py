"""One tiny bundle, one classifier and one app for all hosting tests; tests must not change them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hosting import Client, tiny_bundle
from thorax.serving.app import create_app
from thorax.serving.classifier import Classifier
from thorax.serving.service import Service
from thorax.serving.settings import ServerSettings

#: Small, so that tests of what is too large are cheap.
SETTINGS = ServerSettings(
    workers=1, threads=1, max_batch=4, max_request_bytes=300_000, max_images=8, max_pixels=2_000_000
)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("hosting") / "model")


@pytest.fixture(scope="session")
def classifier(bundle: Path) -> Classifier:
    return Classifier.load(bundle)


@pytest.fixture(scope="session")
def client(classifier: Classifier) -> Iterator[Client]:
    """The app with SETTINGS, in this process."""
    with Client(create_app(lambda: Service(classifier, SETTINGS))).running() as asked:
        yield asked
