"""AWS's side of the web page, on this machine: an HTTP API that calls the Lambda, and a SageMaker endpoint before a real app."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


def event(method: str = "GET", path: str = "/", body: bytes = b"", headers: dict[str, str] | None = None, query: str = "", version: str = "2.0",
          host: str = "page.test", encoded: bool = True) -> dict[str, Any]:  # fmt: skip
    """What an HTTP API or Function URL (2.0) or a REST API (1.0) hands to a Lambda."""
    text = base64.b64encode(body).decode() if encoded else body.decode("utf-8", "replace")
    common = {"headers": headers or {}, "queryStringParameters": dict(parse_qsl(query)) or None, "body": text if body else None, "isBase64Encoded": encoded}
    if version == "1.0":
        return {**common, "version": "1.0", "httpMethod": method, "path": path, "requestContext": {"domainName": host, "stage": "prod"}}
    low = {name.lower(): value for name, value in common["headers"].items()}
    return {**common, "version": "2.0", "headers": low, "rawPath": path, "requestContext": {"domainName": host, "http": {"method": method, "path": path}}}


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Its address, while it is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def http_api(handle: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[str]:
    """An HTTP API whose every request goes to one Lambda."""

    class Api(_Quiet):
        def go(self) -> None:
            parts = urlsplit(self.path)
            got = handle(event(self.command, parts.path, self.body(), dict(self.headers), parts.query, host=self.headers["Host"]))
            text = got["body"]
            self.answer(got["statusCode"], got["headers"], base64.b64decode(text) if got["isBase64Encoded"] else text.encode())

        do_GET = do_POST = do_OPTIONS = do_PUT = go

    with serving(Api) as address:
        yield address


@contextmanager
def endpoint(name: str, app: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A SageMaker endpoint before the app at `app`: its address, and the headers of every request that it got.

    As at AWS the container's errors come back as a ModelError with status 424.
    """
    asked: list[dict[str, str]] = []
    place = urlsplit(app).netloc

    class Runtime(_Quiet):
        def do_POST(self) -> None:
            body = self.body()
            asked.append({key.lower(): value for key, value in self.headers.items()})
            if self.path != f"/endpoints/{name}/invocations":
                said = {"Message": f"Endpoint {self.path.split('/')[2]} of account 123456789012 not found."}
                return self.answer(400, {"x-amzn-ErrorType": "ValidationError", "Content-Type": "application/json"}, json.dumps(said).encode())
            passed = {key: value for key, value in self.headers.items() if key.lower() in ("content-type", "accept", "x-amzn-sagemaker-custom-attributes")}
            connection = http.client.HTTPConnection(place, timeout=30)
            connection.request("POST", "/invocations", body, passed)
            got = connection.getresponse()
            answer, kind = got.read(), got.headers.get("Content-Type", "")
            connection.close()
            if got.status == 200:
                return self.answer(200, {"Content-Type": kind, "x-Amzn-Invoked-Production-Variant": "main"}, answer)
            told = {"OriginalStatusCode": got.status, "OriginalMessage": answer.decode(), "LogStreamArn": "arn:aws:logs:secret", "Message": "Received client error"}
            return self.answer(424, {"x-amzn-ErrorType": "ModelError", "Content-Type": "application/json"}, json.dumps(told).encode())

    with serving(Runtime) as address:
        yield address, asked
