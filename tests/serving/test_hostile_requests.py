"""What one caller sends to take the server from the others: each is refused or answered, in bounded work."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import images
from hosting import form, npy, tiny_bundle
from thorax.serving import pipeline, work
from thorax.serving.classifier import Classifier
from thorax.serving.decode_pool import DecodePool
from thorax.serving.request import RawRequest, RequestError, ResponseOptions
from thorax.serving.settings import ServerSettings
from thorax.serving.work import Means, Work

BENCH = Path(__file__).resolve().parents[2] / "bench"
PNG = images.data(images.grey())


@pytest.fixture
def hostile(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import hostile

    return hostile


@pytest.fixture
def means(classifier):
    made = Means(DecodePool(classifier.bundle.preprocessing, ServerSettings(), processes=1))
    yield made
    made.close()


def cpu(ask) -> float:
    """CPU seconds of this thread: it has nothing to do with how busy the machine is."""
    began = time.thread_time()
    ask()
    return time.thread_time() - began


@pytest.mark.parametrize("kind", ['multipart/form-data; a="' + ";" * 60_000, "application/json" + ";" * 60_000])
def test_parameters_without_end_are_not_taken_apart(client, kind):
    """Python's own parser takes the square of their number: two seconds for these."""
    found = client.ask(body=b"x", headers={"Content-Type": kind})
    assert found.status == 400 and "letters of parameters, more than 1000" in found.json["error"]


def test_a_part_of_a_form_with_parameters_without_end(client):
    head = b'--x\r\nContent-Disposition: form-data; name="' + b";" * 8000 + b"\r\n\r\nA\r\n--x--"
    assert client.ask(body=head, headers={"Content-Type": "multipart/form-data; boundary=x"}).status == 400


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
def test_compressed_bodies_are_not_unpacked(client, encoding):
    found = client.ask(body=PNG, headers={"Content-Type": "image/png", "Content-Encoding": encoding})
    assert found.status == 415 and "send it as it is" in found.json["error"]
    assert client.ask(body=PNG, headers={"Content-Type": "image/png", "Content-Encoding": "identity"}).status == 200


def test_a_query_of_many_parts(client):
    found = client.ask(body=PNG, headers={"Content-Type": "image/png"}, query="a=1&" * 200)
    assert found.status == 400 and "more than 100 parts" in found.json["error"]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"[" + b"[1]," * 60_000 + b"[1]]", 200),
        ("application/json", b'{"a": [' + b"{}," * 60_000 + b"{}]}", 400),
        ("application/json", b'{"images": [' + b'"",' * 60_000 + b'""]}', 413),
        ("text/csv", b"1\n" * 60_000, 200),
        ("text/csv", b"1," * 60_000 + b"a", 400),
    ],
)
def test_bodies_of_many_values_are_read_by_a_child_with_the_same_result(classifier, means, kind, body, status):
    """Here it would hold the interpreter, and with it everybody else, for seconds."""
    raw = RawRequest(body, kind)
    want = pipeline.answer(classifier, raw, ServerSettings())
    found = pipeline.answer(classifier, raw, ServerSettings(), work=Work.of(means, 60.0))
    assert (found.status, found.body) == (want.status, want.body)
    assert found.status == status
    assert len(means.pool.brief._idle) == 1


@pytest.mark.parametrize("array", [np.zeros((3, 40, 40)), np.full((2, 1, 32, 32), 0.5)])
@pytest.mark.parametrize("normalized", ["", "; normalized=true"])
def test_what_a_child_reads_is_what_is_read_here(classifier, means, monkeypatch, array, normalized):
    monkeypatch.setattr(pipeline, "MANY_VALUES", 10)
    body = json.dumps(array.tolist()).encode()
    raw = RawRequest(body, "application/json" + normalized, options=ResponseOptions(label="Mass", explain=False))
    want = pipeline.answer(classifier, raw, ServerSettings())
    found = pipeline.answer(classifier, raw, ServerSettings(), work=Work.of(means, 60.0))
    assert (found.status, found.body) == (want.status, want.body)


def test_base64_of_any_size_is_read_at_once(classifier, means):
    from hosting import base64_of

    body = json.dumps({"image": base64_of(npy(np.zeros((900, 900), np.uint8)))}).encode()
    pipeline.answer(classifier, RawRequest(body, "application/json"), ServerSettings(), work=Work.of(means, 60.0))
    assert means.pool.slow._idle == []


def test_a_form_of_hostile_images_is_refused_before_any_is_decoded(hostile, classifier, means):
    """18 MB of such images took 17 minutes of CPU, of which the caller's answer, a 503, saw 31 seconds."""
    film = hostile.scans(3000, 300)
    body, kind = form(*[("f", "f", film)] * 80)
    raw = RawRequest(body, kind)
    found = pipeline.answer(classifier, raw, ServerSettings(), work=Work.of(means, 30.0))
    assert found.status == 413
    assert "decoding the images would take some" in json.loads(found.body)["error"]
    assert means.pool.slow._idle == means.pool.brief._idle == []


def test_a_request_whose_time_is_over_decodes_nothing_more(classifier, means):
    body, kind = form(*[("f", "f", images.data(images.grey(), "TIFF"))] * 5)
    late = Work(means, 30.0, time.monotonic() - 1)
    found = pipeline.answer(classifier, RawRequest(body, kind), ServerSettings(), work=late)
    assert found.status == 503
    assert means.pool.brief._idle == []


def test_heat_maps_end_with_the_time_of_their_request(tmp_path_factory, means):
    """256 images of fourteen labels are half an hour of work."""
    classifier = Classifier.load(tiny_bundle(tmp_path_factory.mktemp("heat") / "model"))
    drawn = []
    draw = classifier.heat_map

    def counted(image, label):
        drawn.append(label)
        if len(drawn) == 3:
            time.sleep(0.8)
        return draw(image, label)

    classifier.heat_map = counted
    body, kind = form(*[("f", "f", PNG)] * 20)
    raw = RawRequest(body, kind, options=ResponseOptions(explain=True))
    soon = Work(means, 1.0, time.monotonic() + 0.8)
    assert pipeline.answer(classifier, raw, ServerSettings(), work=soon).status == 503
    time.sleep(0.1)
    assert len(drawn) <= 4


def test_one_client_draws_at_a_time(classifier, means):
    with means.drawing.turn("1.1.1.1", time.monotonic() + 5), pytest.raises(RequestError) as refused:
        Work(means, 1.0, time.monotonic() + 0.05).draw(lambda: None)
    assert refused.value.status == 503


def test_the_worst_files_found_do_not_go_in_process(hostile, classifier, means):
    from thorax.serving.image_cost import ORDINARY, cost, is_cheap

    for name, data in hostile.files(0.3).items():
        assert not is_cheap(data), name
        assert cost(data) > 0.15, name
    assert cost(hostile.scans(7000, 400)) > ORDINARY < cost(hostile.chunks(500_000))
    for data in (PNG, images.data(images.grey(), "JPEG"), images.data(images.grey(), "TIFF")):
        assert cost(data) < 0.01


def test_the_thread_of_heat_maps_yields(means):
    import os

    if sys.platform != "linux":
        pytest.skip("threads have priorities of their own on Linux alone")
    here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    there = means.hand.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    assert there == min(19, work.NICE) or there == here == 19


def test_cookies_without_end(client):
    """Python's own parser takes the square of their length; it is not asked."""
    from hosting import Client
    from thorax.serving.guard import Guard

    token = "a" * 24
    guarded = Client(Guard(client.app, token=token), client.loop)
    slow = 'a="' + "\\" * 60_000 + '"'
    headers = {"Host": "localhost", "Cookie": f"{slow}; thorax-token={token}"}
    assert guarded.ask("GET", "/metadata", headers=headers).status == 200
    assert cpu(lambda: guarded.ask("GET", "/metadata", headers={"Host": "localhost", "Cookie": slow})) < 3
