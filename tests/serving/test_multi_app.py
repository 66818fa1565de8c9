"""The app of several bundles: SageMaker's contract of multi-model endpoints, without a server between."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import images
from hosting import Answer, Client, thirty, tiny_bundle
from thorax.serving.classifier import Classifier
from thorax.serving.multi_app import create_multi_app
from thorax.serving.pipeline import answer
from thorax.serving.service import Service
from thorax.serving.settings import ServerSettings

SETTINGS = ServerSettings(
    workers=1, threads=1, max_batch=4, max_request_bytes=300_000, max_images=8, max_pixels=2_000_000
)
PNG = images.data(images.grey())
SENT: dict[str, Any] = {"body": PNG, "headers": {"Content-Type": "image/png"}}


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("binary") / "model", images.BINARY)


@pytest.fixture
def several() -> Iterator[Client]:
    """The app before SageMaker has loaded anything."""
    with Client(create_multi_app(lambda folder: Service.start(folder, SETTINGS))).running() as client:
        yield client


def load(client: Client, name: str, folder: Path) -> Answer:
    return client.ask("POST", "/models", json.dumps({"model_name": name, "url": str(folder)}).encode())


def test_load_list_ask_and_unload(several: Client, bundle: Path, binary: Path, classifier: Classifier) -> None:
    assert several.ask("GET", "/ping").status == 200
    assert several.ask("GET", "/models").json == {"models": []}
    loaded = load(several, "f1e2", bundle)
    assert (loaded.status, loaded.json) == (200, {"modelName": "f1e2", "modelUrl": str(bundle)})
    assert load(several, "b", binary).status == 200
    assert [one["modelName"] for one in several.ask("GET", "/models").json["models"]] == ["f1e2", "b"]
    for asked in thirty():
        found = several.ask(path="/models/f1e2/invoke", body=asked.body, headers=asked.headers)
        want = answer(classifier, asked.raw, SETTINGS)
        assert (found.status, found.body) == (want.status, want.body), asked.name
    verbose = {"Content-Type": "image/png", "Accept": "application/json;verbose"}
    other = several.ask(path="/models/b/invoke", body=PNG, headers=verbose).json
    assert other["labels"] != several.ask(path="/models/f1e2/invoke", body=PNG, headers=verbose).json["labels"]
    assert several.ask("GET", "/models/b").json["metadata"]["limits"]["max_images"] == SETTINGS.max_images
    assert several.ask("DELETE", "/models/f1e2").status == 200
    assert several.ask(path="/models/f1e2/invoke", **SENT).status == 404
    assert several.ask(path="/models/b/invoke", **SENT).status == 200
    assert load(several, "f1e2", bundle).status == 200


def test_a_name_is_loaded_once(several: Client, bundle: Path) -> None:
    async def twice() -> list[int]:
        body = json.dumps({"model_name": "a", "url": str(bundle)}).encode()
        return [one.status for one in await asyncio.gather(*(several.send("POST", "/models", body) for _ in "12"))]

    assert sorted(several.loop.run_until_complete(twice())) == [200, 409]


def test_what_memory_does_not_hold_is_507(several: Client, tmp_path: Path) -> None:
    """SageMaker unloads another bundle then, and asks again."""
    for number in range(8):
        with (tmp_path / f"part-{number}").open("wb") as file:
            os.truncate(file.fileno(), 2**43)  # sparse: it takes no room
    answered = load(several, "huge", tmp_path)
    assert answered.status == 507
    assert "MB of memory to load" in answered.json["error"]
    assert several.ask("GET", "/models").json == {"models": []}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model_name": "a"}'])
def test_what_names_no_bundle(several: Client, body: bytes) -> None:
    assert several.ask("POST", "/models", body).status == 400


def test_what_is_no_bundle(several: Client, tmp_path: Path) -> None:
    answered = load(several, "a", tmp_path)
    assert answered.status == 400
    assert "bundle.json" in answered.json["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/models/nobody", 404),
        ("DELETE", "/models/nobody", 404),
        ("POST", "/models/nobody/invoke", 404),
        ("POST", "/invocations", 404),
        ("POST", "/ping", 405),
    ],
)
def test_other_places(several: Client, method: str, path: str, status: int) -> None:
    answered = several.ask(method, path, **SENT)
    assert answered.status == status
    assert "nobody is not loaded; loaded are: none" in answered.body.decode() or "POST /models/NAME/invoke" in (
        answered.body.decode()
    )


def test_a_server_with_its_own_bundles_loads_no_others(bundle: Path, binary: Path) -> None:
    folders = {"a": bundle, "b": binary}
    with Client(create_multi_app(lambda folder: Service.start(folder, SETTINGS), folders)).running() as client:
        assert [one["modelName"] for one in client.ask("GET", "/models").json["models"]] == ["a", "b"]
        assert client.ask(path="/models/b/invoke", **SENT).status == 200
        assert load(client, "c", bundle).status == 405
        assert client.ask("DELETE", "/models/a").status == 405


def test_the_application_of_an_image_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from thorax.errors import ThoraxError
    from thorax.serving.multi_app import application

    monkeypatch.setenv("THORAX_MAX_QUEUE", "0")
    with pytest.raises(ThoraxError, match="THORAX_MAX_QUEUE=0 must be above 0"):
        application()
