"""AWS's side of the web page, on this machine: an HTTP API that calls the Lambda, and an endpoint before a real app."""

from __future__ import annotations

import base64
import http.client
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest


def event(
    method: str = "GET",
    path: str = "/",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    query: str = "",
    version: str = "2.0",
    host: str = "page.test",
    encoded: bool = True,
) -> dict[str, Any]:
    """What an HTTP API or Function URL (2.0) or a REST API (1.0) hands to a Lambda."""
    text = base64.b64encode(body).decode() if encoded else body.decode("utf-8", "replace")
    common = {
        "headers": headers or {},
        "queryStringParameters": dict(parse_qsl(query)) or None,
        "body": text if body else None,
        "isBase64Encoded": encoded,
    }
    if version == "1.0":
        return {
            **common,
            "version": "1.0",
            "httpMethod": method,
            "path": path,
            "requestContext": {"domainName": host, "stage": "prod"},
        }
    low = {name.lower(): value for name, value in common["headers"].items()}
    return {
        **common,
        "version": "2.0",
        "headers": low,
        "rawPath": path,
        "requestContext": {"domainName": host, "http": {"method": method, "path": path}},
    }


#: method, path with its query, headers, body -> status, headers, body
Respond = Callable[[str, str, Mapping[str, str], bytes], tuple[int, dict[str, str], bytes]]


@contextmanager
def serving(respond: Respond) -> Iterator[str]:
    """The address of a server that answers so."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def go(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, answer = respond(self.command, self.path, self.headers, body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        setattr(Handler, f"do_{method}", Handler.go)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def http_api(handle: Callable[[dict[str, Any]], dict[str, Any]], stage: str = "$default") -> Iterator[str]:
    """An HTTP API whose every request goes to one Lambda; `stage`: all of it is at /STAGE."""

    def respond(method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(path)
        sent = event(method, parts.path, body, dict(headers), parts.query, host=headers["Host"])
        sent["requestContext"]["stage"] = stage
        got = handle(sent)
        text = got["body"]
        return got["statusCode"], got["headers"], base64.b64decode(text) if got["isBase64Encoded"] else text.encode()

    with serving(respond) as address:
        yield address


@contextmanager
def endpoint(name: str, app: str) -> Iterator[str]:
    """The address of a SageMaker runtime with one endpoint before the app at `app`.

    As at AWS the container's errors come back as a ModelError with status 424.
    """
    place = urlsplit(app).netloc

    def respond(method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if path != f"/endpoints/{name}/invocations":
            return aws_error(
                400, "ValidationError", Message=f"Endpoint {path.split('/')[2]} of account 123456789012 not found."
            )
        passed = {
            key: value
            for key, value in headers.items()
            if key.lower() in ("content-type", "accept", "x-amzn-sagemaker-custom-attributes")
        }
        connection = http.client.HTTPConnection(place, timeout=30)
        connection.request("POST", "/invocations", body, passed)
        got = connection.getresponse()
        answer, kind = got.read(), got.headers.get("Content-Type", "")
        connection.close()
        if got.status == 200:
            return 200, {"Content-Type": kind, "x-Amzn-Invoked-Production-Variant": "main"}, answer
        return aws_error(
            424,
            "ModelError",
            OriginalStatusCode=got.status,
            OriginalMessage=answer.decode(),
            Message="Received client error",
            LogStreamArn="arn:secret",
        )

    with serving(respond) as address:
        yield address


def aws_error(status: int, kind: str, **fields: Any) -> tuple[int, dict[str, str], bytes]:
    return status, {"x-amzn-ErrorType": kind, "Content-Type": "application/json"}, json.dumps(fields).encode()


class FixedRuntime:
    """Stands for boto3's client of the endpoint: keeps what it was asked.

    Attributes:
        answer: the body of the answer, something to read it from, or what is raised.
        kind: its content type.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Any = b'{"labels": []}'
        self.kind = "application/json"

    def invoke_endpoint(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        body = self.answer if hasattr(self.answer, "read") else io.BytesIO(self.answer)
        return {"Body": body, "ContentType": self.kind}


def error(answer: dict[str, Any]) -> tuple[int, str]:
    """Status and line of the Lambda's answer that is an error."""
    body = json.loads(answer["body"])
    assert list(body) == ["error"] and body["error"].isprintable()
    return answer["statusCode"], body["error"]


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
    import handler

    handler.runtime.cache_clear()
