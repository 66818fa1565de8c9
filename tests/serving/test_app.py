"""The app without a server between: routes, health, limits of queue and time, counters."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time

import numpy as np
import pytest

import images
from hosting import Client, thirty
from thorax.serving import limits
from thorax.serving.app import create_app
from thorax.serving.classifier import Classifier
from thorax.serving.engines.engine import ENGINES, EngineSpec
from thorax.serving.pipeline import answer
from thorax.serving.readers import READERS
from thorax.serving.service import Service
from thorax.serving.settings import ServerSettings
from thorax.serving.writers import WRITERS

PNG = images.data(images.grey())
SENT = {"body": PNG, "headers": {"Content-Type": "image/png"}}


@pytest.mark.parametrize("asked", thirty(), ids=lambda asked: asked.name)
def test_the_thirty_requests(client, classifier, asked):
    """The app gives what the core gives, byte for byte; the core's own answers are tested elsewhere."""
    found = client.ask(body=asked.body, headers=asked.headers)
    want = answer(classifier, asked.raw, ServerSettings(max_pixels=2_000_000))
    assert (found.status, found.body) == (want.status, want.body)
    assert found.status == asked.status
    assert found.headers["content-type"].split(";")[0] == want.content_type


@pytest.mark.parametrize("path", ["/invocations", "/"])
def test_images_go_to_invocations_or_where_the_ray_adapter_sends_them(client, path):
    assert client.ask(path=path, **SENT).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/invocations", 405),
        ("POST", "/ping", 405),
        ("POST", "/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/../../bundle.json", 404),
        ("GET", "/%2e%2e/app.py", 404),
    ],
)
def test_other_places_and_methods(client, method, path, status):
    found = client.ask(method, path)
    assert found.status == status
    assert "images go to POST /invocations" in found.json["error"]


def test_the_page(client):
    found = client.ask("GET", "/")
    assert found.status == 200 and found.headers["content-type"].startswith("text/html")
    assert client.ask("GET", "/page.js").status == 200


def test_metadata(client, classifier):
    stored = client.ask("GET", "/metadata").json
    want = {
        "labels": ["Effusion", "Mass", "Nodule"],
        "task": "multilabel",
        "thresholds": classifier.thresholds,
        "size": [32, 32],
        "network": "cnn5",
        "model_version": classifier.version,
        "content_types": list(READERS),
        "accepts": list(WRITERS),
    }
    assert {key: stored[key] for key in want} == want
    assert stored["limits"]["max_request_bytes"] == 300_000


def test_counters(client):
    def counted(name: str) -> float:
        return float(
            dict(
                line.rsplit(" ", 1)
                for line in client.ask("GET", "/metrics").body.decode().splitlines()
                if line[0] != "#"
            ).get(name, 0)
        )

    names = (
        'thorax_requests_total{status="200"}',
        'thorax_requests_total{status="415"}',
        "thorax_request_seconds_count",
        "thorax_batch_size_count",
    )
    before = [counted(name) for name in names]
    client.ask(**SENT)
    client.ask(body=PNG, headers={"Content-Type": "text/html"})
    assert [counted(name) - was for name, was in zip(names, before, strict=True)] == [1, 1, 2, 1]


def test_the_query_explains(client, classifier):
    stored = client.ask(query="explain=true&label=Mass", **SENT).json
    assert list(stored["heat_maps"]) == ["Mass"]


# --- health and limits, each with a service of its own


class Slow:
    """An engine with a gate before its forward pass, and failing where `fails` is set: the deepest place there is, so
    that all that lies over it (views, members, calibration, batches) is the product's own."""

    name, precision, device, batch, waits = "slow", "float32", "cpu", 16, True

    def __init__(self) -> None:
        self.gate, self.fails, self.classifier = threading.Event(), False, None
        self.gate.set()

    def logits(self, prepared: np.ndarray) -> np.ndarray:
        self.gate.wait(30)
        if self.fails:
            raise RuntimeError("/secret/path is broken")
        return np.zeros((len(prepared), 3), np.float32)


@pytest.fixture
def slow(bundle, request):
    """A classifier of that engine, with as many views of an image as the test's parameter says; by default one."""
    engine = Slow()
    ENGINES.register("slow", EngineSpec(lambda _: False, lambda *_: {"float32": lambda: engine}, "for a test"))
    try:
        engine.classifier = Classifier.load(bundle, engine="slow", tta=getattr(request, "param", 1))
        yield engine
    finally:
        ENGINES.remove("slow")


@pytest.fixture
def started(slow):
    """Starts a service with these settings: (client, service)."""
    running = []

    def start(**settings):
        service = Service(slow.classifier, dataclasses.replace(ServerSettings(workers=1, threads=1), **settings))
        context = Client(create_app(lambda: service)).running()
        running.append(context)
        return context.__enter__(), service

    yield start
    slow.gate.set()
    for context in running:
        context.__exit__(None, None, None)


@pytest.mark.parametrize("slow", [1, 3], indirect=True)
def test_ping_is_honest(slow, started):
    client, _service = started()
    assert client.ask("GET", "/ping").json == {"status": "healthy"}
    slow.fails = True
    found = client.ask(**SENT)
    assert (found.status, found.json) == (500, {"error": "the model failed on this request"})
    found = client.ask("GET", "/ping")
    assert (found.status, found.json) == (503, {"error": "the model fails: RuntimeError"})
    slow.fails = False
    assert client.ask("GET", "/ping").status == 200


def test_ping_asks_the_model_after_a_while_without_requests(slow, started, monkeypatch):
    client, _service = started()
    slow.fails = True
    assert client.ask("GET", "/ping").status == 200  # a prediction has succeeded a moment ago
    monkeypatch.setattr("thorax.serving.service.FRESH", -1.0)
    assert client.ask("GET", "/ping").status == 503


def test_ping_sees_a_forward_pass_that_does_not_end(slow, started):
    client, service = started(timeout_s=0.05)
    slow.gate.clear()
    assert client.ask(**SENT).status == 503
    while not service.batcher.stuck(0.05):  # the forward pass may have begun a little later than the request
        threading.Event().wait(0.01)
    assert client.ask("GET", "/ping").json == {"error": "a forward pass does not end"}


def test_a_model_that_fails_at_once_does_not_start(slow):
    slow.fails = True
    with pytest.raises(RuntimeError):
        Service(slow.classifier, ServerSettings(workers=1))


def test_a_full_queue_answers_429(slow, started):
    client, _service = started(max_queue=3)
    slow.gate.clear()

    async def crowd():
        first = [asyncio.create_task(client.send(**SENT)) for _ in range(3)]
        while client.app.state.limiter.requests.used < 3:
            await asyncio.sleep(0.002)
        refused = await client.send(**SENT)
        slow.gate.set()
        return refused, await asyncio.gather(*first)

    refused, answers = client.loop.run_until_complete(crowd())
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert "more than this server takes; try again later" in refused.json["error"]
    assert [found.status for found in answers] == [200] * 3
    assert client.ask(**SENT).status == 200  # there is room again


def test_no_answer_in_time(slow, started):
    client, _service = started(timeout_s=0.05)
    slow.gate.clear()
    found = client.ask(**SENT)
    assert (found.status, found.headers["retry-after"]) == (503, "1")
    assert found.json == {"error": "no answer within 0.05 seconds; try again later"}
    slow.gate.set()
    end = threading.Event()
    for _ in range(100):
        if client.ask(**SENT).status == 200:
            break
        end.wait(0.05)
    else:
        raise AssertionError("it never came back")


async def posted(client, receive) -> list[dict]:
    """What the app sends back for a POST whose body `receive` gives."""
    sent: list[dict] = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"content-type", b"image/png")],
        "root_path": "",
    }

    await client.app(scope, receive, send)
    return sent


def test_a_body_that_does_not_come(started):
    client, _service = started(timeout_s=0.05)

    async def silent():
        await asyncio.sleep(20)

    start, body = client.loop.run_until_complete(posted(client, silent))[:2]
    assert start["status"] == 408
    assert json.loads(body["body"]) == {
        "error": "the body did not arrive within 0.05 seconds, or at 4096 bytes a second"
    }


def test_bodies_on_their_way_take_no_room_from_others(started):
    """Sixteen times as many may be on their way as are worked on; the next one is refused."""
    client, _service = started(max_queue=2)
    released = asyncio.Event()

    async def slow():
        await released.wait()
        return {"type": "http.request", "body": PNG, "more_body": False}

    async def run():
        waiting = [asyncio.create_task(posted(client, slow)) for _ in range(32)]
        await asyncio.sleep(0.05)
        assert client.app.state.limiter.bodies.used == 32
        assert client.app.state.limiter.requests.used == 0
        refused = await posted(client, slow)
        released.set()
        answers = await asyncio.gather(*waiting)
        return refused, [answer[0]["status"] for answer in answers]

    refused, statuses = client.loop.run_until_complete(run())
    assert refused[0]["status"] == 429
    assert "32 requests are on their way here" in json.loads(refused[1]["body"])["error"]
    assert set(statuses) <= {200, 429} and statuses.count(200) >= 2
    assert client.app.state.limiter.bodies.used == client.app.state.limiter.requests.used == 0


def test_a_body_that_trickles_is_given_up_before_the_time_limit(started, monkeypatch):
    """A byte now and then would hold a place for the whole time limit; a slow line that goes on keeps it."""
    monkeypatch.setattr(limits, "GRACE", 0.3)
    monkeypatch.setattr(limits, "RATE", 40)
    client, _service = started(timeout_s=60.0)

    def by(size: int):
        left = bytearray(PNG)

        async def receive():
            await asyncio.sleep(0.05)
            part = bytes(left[:size])
            del left[:size]
            return {"type": "http.request", "body": part, "more_body": bool(left)}

        return receive

    began = time.monotonic()
    assert client.loop.run_until_complete(posted(client, by(1)))[0]["status"] == 408
    assert time.monotonic() - began < 30
    assert client.loop.run_until_complete(posted(client, by(max(1, len(PNG) // 10))))[0]["status"] == 200


def test_a_caller_who_goes_away(client):
    async def gone():
        return {"type": "http.disconnect"}

    assert client.loop.run_until_complete(posted(client, gone))[0]["status"] == 400
    assert client.app.state.limiter.requests.used == client.app.state.limiter.bytes.used == 0
    assert client.app.state.service.batcher._coming == 0


@pytest.mark.parametrize(
    "headers", [{"Content-Length": "300001"}, {"Content-Length": "9" * 30}, {}, {"Content-Length": "7"}]
)
def test_too_large_whatever_it_says(client, headers):
    found = client.ask(
        body=b"x" * (300_001 if len(headers.get("Content-Length", "7")) < 3 else 10),
        headers={"Content-Type": "image/png", **headers},
    )
    assert found.status == 413
    assert found.json["error"].startswith("the body is larger than 300000 bytes")


def test_requests_that_fill_the_memory(slow, started):
    client, _service = started(max_request_bytes=10_000)
    client.app.state.limiter.bytes.take("1.1.1.1", 80_000)
    assert client.ask(**SENT).status == 429
