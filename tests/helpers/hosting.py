"""What the hosting tests share: a tiny bundle, an ASGI app without a server, a server process, and requests."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import requests
import torch

import images
from conftest import clean_environment
from thorax.data.images import Preprocessing
from thorax.labels import LabelSpace
from thorax.models import build
from thorax.serving.bundle_contents import BundleContents
from thorax.serving.bundle_writer import write_bundle
from thorax.serving.request import RawRequest, ResponseOptions

ROOT = Path(__file__).resolve().parents[2]
THRESHOLDS = {"Effusion": 0.4, "Mass": 0.5, "Nodule": 0.6}


def tiny_bundle(
    folder: Path, space: LabelSpace = images.FINDINGS, network: str = "cnn5", side: int = 32, **more: Any
) -> Path:
    """A bundle of a network whose answers differ from image to image and from label to label."""
    torch.manual_seed(5)
    net = build(network, 1, len(space.outputs)).eval()
    with torch.no_grad():
        next(m for m in reversed(list(net.modules())) if isinstance(m, torch.nn.Linear)).weight.mul_(100)
    facts = {"configuration": {"network": network}, "split": {"sha256": "0" * 64, "counts": {}}, **more}
    contents = BundleContents(
        network=network,
        space=space,
        preprocessing=Preprocessing(side, side),
        thresholds={name: THRESHOLDS.get(name, 0.5) for name in space.outputs},
        **facts,
    )
    write_bundle(folder, net, contents, "id,patient,part\n", ROOT / "source_dir")
    return folder


def npy(array: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def form(*parts: tuple[str, str | None, bytes], boundary: str = "x1y2") -> tuple[bytes, str]:
    """A multipart body of (field, file name or None, content) and its content type."""
    out = b""
    for name, file, content in parts:
        named = f'; filename="{file}"' if file is not None else ""
        out += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"
        )
    return out + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


@dataclass(frozen=True)
class Asked:
    """One request of those that every server must answer alike."""

    name: str
    status: int
    body: bytes
    content_type: str | None = "image/png"
    accept: str | None = None
    attributes: str = ""
    toolkit: bool = True  #: the TorchServe toolkit lets it through to our functions as it is

    @property
    def headers(self) -> dict[str, str]:
        named = {
            "Content-Type": self.content_type,
            "Accept": self.accept,
            "X-Amzn-SageMaker-Custom-Attributes": self.attributes,
        }
        return {key: text for key, text in named.items() if text}

    @property
    def raw(self) -> RawRequest:
        """The request as a server hands it to the pipeline."""
        options = ResponseOptions.of(attributes=self.attributes)
        return RawRequest(self.body, self.content_type, self.accept, options)


def thirty() -> list[Asked]:
    """Good and bad requests."""
    png, jpeg = images.data(images.grey()), images.data(images.smooth(80, 90), "JPEG")
    other = images.data(images.grey(seed=3))
    single, several = {"image": base64_of(png)}, {"images": [base64_of(png), base64_of(b"no image"), base64_of(jpeg)]}
    sent, sent_as = form(("a", "a.png", png), ("b", "b.jpeg", jpeg))
    dumped = lambda value: json.dumps(value).encode()  # noqa: E731
    array = "application/x-npy"
    return [
        Asked("png", 200, png),
        Asked("jpeg", 200, jpeg, "image/jpeg"),
        Asked("another png", 200, other, "application/x-image"),
        Asked("a png called jpeg", 200, png, "image/jpeg; charset=binary"),
        Asked("bytes", 200, jpeg, "application/octet-stream", "*/*"),
        Asked("verbose", 200, png, accept="application/json;verbose"),
        Asked("lines", 200, png, accept="application/jsonlines"),
        Asked("csv", 200, png, accept="text/csv"),
        Asked("npy out", 200, png, accept="application/x-npy"),
        Asked("heat map", 200, png, accept="image/png"),
        Asked("q-values", 200, png, accept="text/html, text/csv;q=0.5, application/json;q=0.4"),
        Asked("explain", 200, png, attributes="explain=true"),
        Asked("explain one label", 200, png, accept="application/jsonlines", attributes="explain=true,label=Mass"),
        Asked("json", 200, dumped(single), "application/json"),
        Asked("json of several, one bad", 200, dumped(several), "application/json"),
        Asked(
            "json of several, one bad, verbose", 200, dumped(several), "application/json", "application/json;verbose"
        ),
        Asked("json of several, one bad, csv", 200, dumped(several), "application/json", "text/csv"),
        Asked("json explained", 200, dumped({**single, "explain": True, "label": "Nodule"}), "application/json"),
        Asked("npy", 200, npy(images.grey()), array),
        Asked(
            "npy batch of floats",
            200,
            npy(np.stack([images.grey(), images.grey(seed=1)]) / 255),
            array,
            "application/jsonlines",
        ),
        Asked("form", 200, sent, sent_as, toolkit=False),
        Asked("no image", 400, b"hello"),
        Asked("half an image", 400, png[:200]),
        Asked("a bomb", 400, images.huge(20_000, 20_000)),
        Asked("pickle in npy", 400, npy(np.array([{}], dtype=object), allow_pickle=True), array),
        Asked("NaN in npy", 400, npy(np.full((8, 8), np.nan)), array),
        Asked("torn json", 400, dumped(single)[:-9], "application/json"),
        Asked("an address", 400, dumped({"s3_uri": "http://169.254.169.254/latest"}), "application/json"),
        Asked("deep json", 400, b"[" * 100_000, "application/json"),
        Asked("plain text", 415, b"image", "text/plain"),
        Asked("cannot be given", 406, png, accept="audio/mpeg"),
        Asked("unknown label", 400, png, attributes="explain=true;label=Gout"),
    ]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Asks an ASGI app in this process, in one event loop, without a server between."""

    app: Any
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    @contextmanager
    def running(self) -> Iterator[Client]:
        """Inside the app's lifespan."""

        async def enter() -> Any:
            context = self.app.router.lifespan_context(self.app)
            await context.__aenter__()
            return context

        context = self.loop.run_until_complete(enter())
        try:
            yield self
        finally:
            self.loop.run_until_complete(context.__aexit__(None, None, None))
            self.loop.close()

    def ask(self, *args: Any, **kwargs: Any) -> Answer:
        return self.loop.run_until_complete(self.send(*args, **kwargs))

    async def send(
        self,
        method: str = "POST",
        path: str = "/invocations",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        query: str = "",
    ) -> Answer:
        sent: list[dict[str, Any]] = []
        encoded = [
            (key.lower().encode("latin-1"), text.encode("latin-1", "replace")) for key, text in (headers or {}).items()
        ]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode("utf-8", "replace"),
            "headers": encoded,
            "scheme": "http",
            "server": ("test", 80),
            "client": ("test", 1),
            "root_path": "",
        }
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return waiting.pop() if waiting else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        heads = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], heads, b"".join(m.get("body", b"") for m in sent[1:]))


@contextmanager
def server(
    bundle: Path, kind: str = "app", ready: float = 90, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server process of `launch/local` on a free port: its address and the process.

    It is stopped by SIGTERM at the end.
    """
    port = free_port()
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'launch')!r}, {str(ROOT / 'source_dir')!r}]\nfrom pathlib import"
        f" Path\nfrom thorax_launch.local.serve_{kind} import serve\nsys.exit(serve(Path({str(bundle)!r}), {port},"
        " show=lambda text: None))"
    )
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=clean_environment(**environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_for(address, process, ready)
            yield address, process
        except BaseException:
            log.seek(0)
            print(log.read()[-20_000:])
            raise
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait_for(address: str, process: subprocess.Popen[str], seconds: float) -> None:
    """Until an image is answered."""
    image = images.data(images.grey())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if (
                requests.post(
                    f"{address}/invocations", image, headers={"Content-Type": "image/png"}, timeout=20
                ).status_code
                == 200
            ):
                return
        except (requests.ConnectionError, requests.Timeout):  # also where a replica of Ray's is still starting
            pass
        if process.poll() is not None:
            raise AssertionError(f"the server has ended with exit code {process.returncode}")
        time.sleep(0.2)
    raise AssertionError(f"no answer within {seconds} s")


def free_port() -> int:
    """Free, and with the next two free as well."""
    for _ in range(50):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        if port < 65000 and all(_free(port + k) for k in (1, 2)):
            return port
    raise AssertionError("no free port")


def _free(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0
