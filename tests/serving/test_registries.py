"""Content types: each says what it is, and one that is registered from outside works over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import images
from hosting import Client
from thorax.errors import ThoraxError
from thorax.serving.app import create_app
from thorax.serving.readers import READERS, RequestReader
from thorax.serving.request import InferenceRequest, RequestError
from thorax.serving.response import Prediction
from thorax.serving.service import Service
from thorax.serving.settings import ServerSettings
from thorax.serving.writers import WRITERS, ResponseWriter

RAW, TABLE = "application/x-raw-grey", "text/tab-separated-values"
GREY = images.grey(24, 28)


def read_raw(body: bytes, parameters: str, settings: ServerSettings) -> InferenceRequest:
    """Grey values row by row; the parameter `width` is their number in a row."""
    width = int(parameters.partition("width=")[2] or 0)
    if width < 1 or len(body) % width:
        raise RequestError(400, f"{len(body)} grey values make no rows of {width}")
    return InferenceRequest([np.frombuffer(body, np.uint8).reshape(-1, width)])


def write_table(prediction: Prediction) -> bytes:
    names = prediction.classifier.labels
    return "".join(f"{name}\t{p:.3f}\n" for name, p in zip(names, prediction.rows[0], strict=True)).encode()


@pytest.fixture
def client(classifier) -> Iterator[Client]:
    """An app with a reader and a writer of ours."""
    READERS.register(RAW, RequestReader(read_raw, "grey values row by row"))
    WRITERS.register(TABLE, ResponseWriter(write_table, "a line an output"))
    try:
        service = Service(classifier, ServerSettings(workers=1, threads=1))
        with Client(create_app(lambda: service)).running() as client:
            yield client
    finally:
        READERS.remove(RAW)
        WRITERS.remove(TABLE)


def test_a_content_type_from_outside_works_by_registration_alone(client, classifier):
    reply = client.ask(body=GREY.tobytes(), headers={"Content-Type": f"{RAW}; width=28", "Accept": TABLE})
    assert (reply.status, reply.headers["content-type"].split(";")[0]) == (200, TABLE)
    found = {name: float(text) for name, text in (line.split("\t") for line in reply.body.decode().splitlines())}
    assert found == pytest.approx(dict(zip(classifier.labels, classifier.predict([GREY])[0], strict=True)), abs=6e-4)


def test_its_errors_and_its_name_reach_the_caller(client):
    headers = {"Content-Type": f"{RAW}; width=5"}
    assert client.ask(body=GREY.tobytes(), headers=headers).json == {"error": "672 grey values make no rows of 5"}
    assert RAW in client.ask(body=b"x", headers={"Content-Type": "text/html"}).json["error"]
    headers = {"Content-Type": RAW, "Accept": "audio/mpeg"}
    assert TABLE in client.ask(body=b"x", headers=headers).json["error"]
    metadata = client.ask("GET", "/metadata").json
    assert (metadata["content_types"][-1], metadata["accepts"][-1]) == (RAW, TABLE)


def test_a_writer_without_room_for_heat_maps_refuses_them(client):
    headers = {"Content-Type": f"{RAW}; width=28", "Accept": TABLE}
    reply = client.ask(body=GREY.tobytes(), headers=headers, query="explain=true")
    assert (reply.status, reply.json["error"].split(";")[0]) == (406, f"{TABLE} has no room for heat maps")


@pytest.mark.parametrize("registry", [READERS, WRITERS], ids=["readers", "writers"])
def test_every_content_type_has_a_line_of_help_and_is_registered_once(registry):
    helps = [registry[name].help for name in registry]
    assert all(helps) and len(set(helps)) == len(helps) and not any("\n" in text for text in helps)
    name = next(iter(registry))
    with pytest.raises(ThoraxError, match=f"content type {name} is registered twice"):
        registry.register(name, registry[name])
