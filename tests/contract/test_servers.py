"""One bundle on every server: the thirty requests of hosting.py get the same status and the same bytes everywhere.

What SageMaker's TorchServe toolkit itself prevents, and so is not asked of it: forms, which TorchServe takes apart; its
errors carry a traceback after our line, and JSON that is no UTF-8 fails inside of it.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import psutil
import pytest
import requests

import images
from hosting import Asked, free_port, server, thirty, tiny_bundle
from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier
from thorax.serving.pipeline import answer

PNG = images.data(images.grey())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("servers") / "model")


@pytest.fixture(scope="module")
def classifier(bundle):
    return Classifier.load(bundle)


@pytest.fixture(scope="module")
def app(bundle):
    """The app under uvicorn, in a process: (its address, the process)."""
    with server(bundle, "app", THORAX_MAX_REQUEST_BYTES="1000000", THORAX_TIMEOUT_S="3") as running:
        yield running


def posted(address: str) -> Callable[[Asked], tuple[int, bytes]]:
    """Asks a server over one connection."""
    session = requests.Session()
    session.headers.clear()

    def ask(asked: Asked) -> tuple[int, bytes]:
        answered = session.post(f"{address}/invocations", asked.body, headers=asked.headers, timeout=30)
        return answered.status_code, answered.content

    return ask


def differing(ask: Callable[[Asked], tuple[int, bytes]], classifier: Classifier, toolkit: bool = False) -> list[str]:
    """Names of the requests that were not answered as the classifier in this process answers them."""
    wrong = []
    for asked in thirty():
        if toolkit and not asked.toolkit:
            continue
        want = answer(classifier, asked.raw)
        status, body = ask(asked)
        if toolkit and want.status != 200:  # our line comes first, then the toolkit's traceback
            body = body.partition(b"\n")[0]
        if (status, body) != (asked.status, want.body):
            wrong.append(f"{asked.name}: {status} {body[:200]!r} for {want.status} {want.body[:200]!r}")
    return wrong


# --- uvicorn


def test_uvicorn(app, classifier):
    assert differing(posted(app[0]), classifier) == []


def raw(address: str, sent: bytes, hang_up: bool = True) -> bytes:
    """What a server answers to these very bytes, until it closes or says nothing more."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(sent)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        got = b""
        while piece := connection.recv(65536):
            got += piece
    return got


@pytest.mark.parametrize(
    ("length", "body", "status"),
    [
        (str(len(PNG) + 50), PNG, None),
        (str(len(PNG) - 50), PNG, b"400"),
        ("-1", PNG, b"400"),
        ("many", PNG, b"400"),
        ("99999999999", b"x", b"413"),
        ("0", b"", b"400"),
    ],
)
def test_a_content_length_that_lies(app, classifier, length, body, status):
    """Longer than the body: the connection ends before the body does, and no response can be sent."""
    got = raw(
        app[0],
        b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: image/png\r\nContent-Length: " + length.encode() + b"\r\n\r\n" + body,
        hang_up=status is None,
    )
    assert got.split(b" ")[1:2] == ([status] if status else []) or (status is None and got.split(b" ")[1] == b"400")
    assert b"Traceback" not in got
    assert posted(app[0])(Asked("", 200, PNG))[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01",
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 100_000,
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
)
def test_what_is_no_http(app, sent):
    try:
        got = raw(app[0], sent)
    except ConnectionError:
        got = b""
    assert got == b"" or got.split(b" ")[1].startswith(b"4")
    assert posted(app[0])(Asked("", 200, PNG))[0] == 200


def test_a_body_of_many_pieces_is_counted(app):
    answered = requests.post(
        app[0], (b"x" * 100_000 for _ in range(12)), headers={"Content-Type": "image/png"}, timeout=20
    )
    assert (answered.status_code, answered.json()) == (
        413,
        {"error": "the body is larger than 1000000 bytes; send a smaller image, or fewer at once"},
    )


def test_a_body_that_does_not_come_is_not_waited_for(app):
    host, port = app[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        assert connection.recv(65536).split(b" ")[1] == b"408"


def test_sigterm_lets_what_has_begun_end(bundle):
    with server(bundle) as (address, process):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(
                b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
                % len(PNG)
                + PNG[:40]
            )
            requests.get(f"{address}/ping", timeout=20)  # the first half of the image has arrived by now
            process.send_signal(signal.SIGTERM)
            for _ in range(200):
                try:
                    socket.create_connection((host, int(port)), timeout=20).close()
                    time.sleep(0.02)
                except ConnectionRefusedError:
                    break
            else:
                raise AssertionError("it still lets new callers in")
            connection.sendall(PNG[40:])
            assert connection.recv(65536).split(b" ")[1] == b"200"
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("damage", ["nothing", "bundle.json", "model.safetensors"])
def test_a_broken_bundle_fails_at_start_with_one_line(bundle, tmp_path, damage):
    from thorax.errors import ThoraxError
    from thorax_launch.local.serve_app import serve

    if damage != "nothing":
        shutil.copytree(bundle, tmp_path / "model")
        (tmp_path / "model" / damage).write_bytes(b"{")
    with pytest.raises(ThoraxError) as caught:
        serve(tmp_path / "model", 0)
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken(app, bundle):
    from thorax.errors import ThoraxError
    from thorax_launch.local.serve_app import serve

    port = int(app[0].rsplit(":", 1)[1])
    with pytest.raises(ThoraxError, match=f"--port {port} on 127.0.0.1 cannot be used: Address already in use"):
        serve(bundle, port)


# --- the toolkit's handler, in this process


def test_the_toolkits_handler(bundle, classifier, monkeypatch):
    pytest.importorskip("sagemaker_inference")
    pytest.importorskip("sagemaker_pytorch_serving_container", exc_type=ImportError)
    from sagemaker_pytorch_serving_container.handler_service import HandlerService

    class Context:
        """A request as TorchServe hands it to a handler, and the response."""

        system_properties = {"model_dir": str(bundle)}  # noqa: RUF012

        def __init__(self) -> None:
            self.asked = Asked("", 0, b"")
            self.status = 200

        @property
        def request_processor(self):
            return [self]

        def get_request_properties(self):
            return self.asked.headers

        def get_request_header(self, index, name):
            return self.asked.headers.get(name)

        def set_response_status(self, code, phrase, index=0):
            self.status = code
            assert "\n" not in phrase and len(phrase) < 40

        def set_response_content_type(self, index, kind):
            self.kind = kind

    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(bundle.parent))
    context = Context()
    handler = HandlerService()
    handler.initialize(context)

    def ask(asked: Asked) -> tuple[int, bytes]:
        context.asked, context.status = asked, 200
        (body,) = handler.handle([{"body": bytearray(asked.body)}], context)
        return context.status, body.encode() if isinstance(body, str) else bytes(body)

    assert differing(ask, classifier, toolkit=True) == []


# --- other servers


@pytest.fixture(params=["as trained", "int8"])
def served(request, bundle, tmp_path):
    """(A bundle, its classifier): as it was trained, and after `thorax optimize` with its OpenVINO."""
    if request.param == "as trained":
        return bundle, Classifier.load(bundle)
    pytest.importorskip("nncf", reason="nncf is in the extra optimize")
    from thorax.optimize import acceptance
    from thorax.optimize.bundles import optimize
    from thorax.optimize.examples import Examples

    folder = tmp_path / "model"
    shutil.copytree(bundle, folder)
    loaded = Bundle.load(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (36, 32, 32), np.uint8)
    targets = (np.arange(24 * len(loaded.labels)).reshape(24, -1) % 5 % 2).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:  # the answers of a random network may move: servers give the same
        for name in acceptance.LIMITS:
            patch.setitem(acceptance.LIMITS, name, 1.0)
        optimize(loaded, Examples(pixels[:12], pixels[12:], targets), say=lambda text: None)
    classifier = Classifier.load(folder)
    assert (classifier.engine, classifier.precision) == ("openvino", "int8")
    return folder, classifier


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("java"), reason="TorchServe needs Java 17")
def test_torchserve(served):
    bundle, classifier = served
    for module in ("ts", "model_archiver", "sagemaker_pytorch_serving_container"):
        pytest.importorskip(module)
    with server(bundle, "torchserve", ready=120) as (address, process):
        assert differing(posted(address), classifier, toolkit=True) == []
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(timeout=60)
    assert psutil.wait_procs(children, timeout=10)[1] == []


class Adapter(BaseHTTPRequestHandler):
    """A stand-in of our own for AWS's adapter.

    POST /invocations is sent on as POST /, with the headers that it passes.
    """

    target = ""
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        passed = {
            k: v
            for k, v in self.headers.items()
            if k.lower() in ("content-type", "accept") or k.lower().startswith("x-amzn-sagemaker-")
        }
        session = requests.Session()
        session.headers.clear()
        answered = session.post(f"{self.target}/", body, headers=passed, timeout=30)
        self.send_response(answered.status_code)
        self.send_header("Content-Type", answered.headers["Content-Type"])
        self.send_header("Content-Length", str(len(answered.content)))
        self.end_headers()
        self.wfile.write(answered.content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.mark.slow
def test_ray_behind_the_adapter_and_alone(served):
    bundle, classifier = served
    pytest.importorskip("ray")
    with server(bundle, "ray", ready=150, THORAX_REPLICAS="1") as (address, process):
        assert differing(posted(address), classifier) == []
        adapter = ThreadingHTTPServer(("127.0.0.1", free_port()), type("To", (Adapter,), {"target": address}))
        Thread(target=adapter.serve_forever, daemon=True).start()
        try:
            assert differing(posted(f"http://127.0.0.1:{adapter.server_port}"), classifier) == []
        finally:
            adapter.shutdown()
            adapter.server_close()
        assert requests.get(f"{address}/ping", timeout=20).json() == {"status": "healthy"}
        told = requests.get(f"{address}/metadata", timeout=20).json()
        assert (told["model_version"], told["precision"]) == (classifier.version, classifier.precision)
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(timeout=90)
    assert psutil.wait_procs(children, timeout=10)[1] == []


@pytest.mark.parametrize(
    ("variables", "want"),
    [
        ({}, {"num_replicas": 1, "num_cpus": 1.0}),
        ({"REPLICAS": "3", "CPUS": "2", "GPUS": "0.25"}, {"num_replicas": 3, "num_cpus": 2.0, "num_gpus": 0.25}),
        ({"REPLICAS": "2", "MAX_REPLICAS": "6"}, {"min_replicas": 2, "max_replicas": 6}),
    ],
)
def test_replicas_and_their_share_are_settings(monkeypatch, variables, want):
    pytest.importorskip("ray")
    for name, text in variables.items():
        monkeypatch.setenv(f"THORAX_{name}", text)
    sys.modules.pop("deployment", None)
    import deployment

    options = deployment.application()._bound_deployment
    scaled = options._deployment_config.autoscaling_config
    found = {
        "num_replicas": options.num_replicas,
        **options.ray_actor_options,
        **(json.loads(scaled.json()) if scaled else {}),
    }
    assert {key: found[key] for key in want} == want
