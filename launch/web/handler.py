"""The AWS Lambda behind the web page: serves the page, checks an image, invokes the SageMaker endpoint.

Takes the events of an HTTP API or a Function URL (payload 2.0) and of a REST API (1.0). Nothing but boto3 is needed.

GET  /             the page; /page.js, /page.css, /icon.svg
GET  /metadata     {"limits": {"max_request_bytes": ...}, "content_types": [...]}
POST /invocations  an image: its bytes, multipart/form-data with one file, or {"image": base64}; the reply is the
                   endpoint's; ?explain=true&label=NAME adds heat maps

Environment: ENDPOINT_NAME; ALLOWED_ORIGIN, the one other site from which pages may ask (default: none); MAX_BYTES of an
image; TIMEOUT_S to wait for the endpoint.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import os
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

#: Beside this file in Lambda (`make web`), in the package otherwise.
PAGES = (Path(__file__).parent / "page", Path(__file__).parent / "../../source_dir/thorax/serving/page")
FILES = {
    "": "index.html",
    "index.html": "index.html",
    "page.js": "page.js",
    "page.css": "page.css",
    "icon.svg": "icon.svg",
    "kinds.json": "kinds.json",
}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
#: Bytes of an answer that Lambda sends on, with its headers: 6 MB.
MAX_ANSWER = 6 * 2**20 - 10_000
#: Lambda takes 6 MB an event, in which an image is base64, a third larger.
MAX_BYTES = 4_400_000
#: Errors of the endpoint as responses: error code -> status, seconds to wait, message.
ENDPOINT_ERRORS = {
    "ThrottlingException": (429, 1, "too many images at once; try again in a moment"),
    "ServiceUnavailable": (503, 2, "the model is busy; try again in a moment"),
    "ServiceUnavailableException": (503, 2, "the model is busy; try again in a moment"),
    "ModelNotReadyException": (503, 10, "the model is starting; try again in a moment"),
}


class HttpError(Exception):
    """A response other than 200; the message is one line for the caller."""

    def __init__(self, status: int, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True)
class HttpRequest:
    """One event, of either version. Header names are in small letters; `host` is the address of the request."""

    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, str]
    host: str
    body: str
    is_base64: bool

    @classmethod
    def of(cls, event: dict[str, Any]) -> HttpRequest:
        context = event.get("requestContext") or {}
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        return cls(
            (context.get("http") or {}).get("method") or event.get("httpMethod", "GET"),
            event.get("rawPath") or event.get("path") or "/",
            headers,
            event.get("queryStringParameters") or {},
            context.get("domainName") or headers.get("host", ""),
            event.get("body") or "",
            bool(event.get("isBase64Encoded")),
        )

    @property
    def name(self) -> str:
        """The last word of the path, so that a stage in front of it does not matter."""
        return self.path.rpartition("/")[2]

    def data(self) -> bytes:
        """The body's bytes; its size is checked before it is decoded."""
        is_json = self.headers.get("content-type", "").startswith("application/json")  # holds the image in base64
        if len(self.body) > limit() * (4 / 3 if self.is_base64 or is_json else 1) + 4096:  # room for a form's headers
            raise too_large()
        if not self.is_base64:
            return self.body.encode("utf-8", "surrogateescape")
        return from_base64(self.body)


def lambda_handler(event: dict[str, Any], context: Any = None) -> dict[str, Any]:
    """The answer to one event, never an exception."""
    request = HttpRequest.of(event)
    origin = request.headers.get("origin", "")
    try:
        check_origin(origin, request.host)
        answer = respond(request)
    except HttpError as error:
        answer = reply(error.status, json.dumps({"error": str(error)}))
        if error.retry_after:
            answer["headers"]["Retry-After"] = str(error.retry_after)
    except Exception as error:
        log("unexpected", error)
        answer = reply(500, json.dumps({"error": "something went wrong here; it is in the log"}))
    if allowed := os.environ.get("ALLOWED_ORIGIN"):
        answer["headers"]["Vary"] = "Origin"
        if origin == allowed:
            answer["headers"] |= {
                "Access-Control-Allow-Origin": allowed,
                "Access-Control-Allow-Methods": "GET, POST",
                "Access-Control-Max-Age": "3600",
                "Access-Control-Allow-Headers": "Content-Type, Accept",
                "Access-Control-Expose-Headers": "Retry-After",
            }
    return answer


def check_origin(origin: str, host: str) -> None:
    """Refuses requests that another site's page sends, so that no other site uses this endpoint."""
    if origin and origin != os.environ.get("ALLOWED_ORIGIN") and urlsplit(origin).netloc != host:
        raise HttpError(403, "this address does not take requests from pages of other sites")


def respond(request: HttpRequest) -> dict[str, Any]:
    if request.method == "OPTIONS":
        return reply(204, "")
    if request.method in ("GET", "HEAD"):
        if request.name == "metadata":
            types = [kind["content_type"] for kind in kinds()]
            return reply(200, json.dumps({"limits": {"max_request_bytes": limit()}, "content_types": types}))
        return page(request.name)
    if request.method != "POST":
        raise HttpError(405, f"{request.method} is not taken here; GET the page or POST an image")
    if request.name not in ("", "invocations"):
        raise HttpError(404, "there is nothing here; POST an image to /invocations")
    image, kind = image_of(request)
    return invoke(image, kind, request)


def page(name: str) -> dict[str, Any]:
    if name not in FILES:
        raise HttpError(404, "there is nothing here; the page is at /")
    file = pages() / FILES[name]
    answer = reply(200, file.read_text(encoding="utf-8"), TYPES[file.suffix])
    answer["headers"] |= {"Cache-Control": "max-age=300", "Content-Security-Policy": "frame-ancestors 'none'"}
    return answer


def pages() -> Path:
    """The folder of the page's files."""
    return next(folder for folder in PAGES if folder.is_dir())


@functools.cache
def kinds() -> list[dict[str, Any]]:
    """The kinds of images that an endpoint reads: name, content_type, endings, and marks as [offset, hex bytes]."""
    found: list[dict[str, Any]] = json.loads((pages() / "kinds.json").read_text(encoding="utf-8"))
    return found


def image_of(request: HttpRequest) -> tuple[bytes, str]:
    """The image's bytes and its content type by its first bytes, whatever content type the request names.

    Raises:
        HttpError: 400 no image in it, 413 too large, 415 not an image.
    """
    header = request.headers.get("content-type", "application/octet-stream")
    content_type = header.split(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        image = form_file(request.data(), header)
    elif content_type == "application/json":
        image = json_image(request.data())
    elif content_type.startswith("image/") or content_type in (
        "application/octet-stream",
        "application/dicom",
        "application/x-image",
        "application/x-www-form-urlencoded",
    ):
        image = request.data()
    else:
        known = ", ".join(kind["content_type"] for kind in kinds())
        raise HttpError(415, f"content type {content_type[:60]} is not taken; send {known}, a form or JSON")
    if len(image) > limit():
        raise too_large()
    if not image:
        raise HttpError(400, "the image is empty")
    for kind in reversed(kinds()):
        if any(image.startswith(bytes.fromhex(mark), offset) for offset, mark in kind["marks"]):
            return image, kind["content_type"]
    *names, last = (kind["name"] for kind in kinds())
    raise HttpError(415, f"this is not a {', '.join(names)} or {last} image")


def form_file(body: bytes, content_type: str) -> bytes:
    """The first file of a multipart form (RFC 7578)."""
    head = Message()
    head["Content-Type"] = content_type
    boundary = head.get_boundary()
    if not boundary:
        raise HttpError(400, "the form has no boundary in its content type")
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:-1]:
        headers, found, content = part.partition(b"\r\n\r\n")
        if found and b"filename" in headers.lower():
            return content
    raise HttpError(400, "the form holds no file")


def json_image(body: bytes) -> bytes:
    """The image of {"image": base64}, also as a data URL, as a browser's FileReader writes it.

    Addresses are not followed.
    """
    try:
        stored = json.loads(body)
    except (ValueError, RecursionError):
        raise HttpError(400, "the body is not JSON") from None
    if not isinstance(stored, dict) or not isinstance(stored.get("image"), str) or len(stored) > 1:
        raise HttpError(400, 'JSON must be {"image": base64 of one image}; addresses are not followed')
    text = stored["image"]
    return from_base64(text.partition(",")[2] if text.startswith("data:") else text)


def from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise HttpError(400, "the base64 is damaged") from None


@functools.cache
def runtime() -> Any:
    """One client for the life of the Lambda; the page, not this, tries again."""
    wait = float(os.environ.get("TIMEOUT_S", "25"))
    return boto3.client(
        "sagemaker-runtime", config=Config(connect_timeout=3, read_timeout=wait, retries={"total_max_attempts": 1})
    )


def invoke(image: bytes, kind: str, request: HttpRequest) -> dict[str, Any]:
    """The endpoint's reply.

    Raises:
        HttpError: the endpoint cannot be reached, or refuses the image.
    """
    attributes = urlencode({key: text[:200] for key in ("explain", "label") if (text := request.query.get(key))})
    options = {"CustomAttributes": attributes} if attributes else {}
    accept = request.headers.get("accept", "").replace("*/*", "") or "application/json;verbose"
    try:
        found = runtime().invoke_endpoint(
            EndpointName=os.environ["ENDPOINT_NAME"], ContentType=kind, Accept=accept, Body=image, **options
        )
    except ClientError as error:
        raise http_error(error) from None
    except ReadTimeoutError as error:
        log("endpoint", error)
        raise HttpError(504, "the model took too long; try again") from None
    except BotoCoreError as error:
        log("endpoint", error)
        raise HttpError(502, "the model cannot be reached") from None
    return reply(200, found["Body"].read(), found["ContentType"])


def http_error(error: ClientError) -> HttpError:
    """What the caller gets: the container's own 4xx as it is; everything else of AWS's stays in the log."""
    code = error.response.get("Error", {}).get("Code", "")
    if code == "ModelError":
        status = int(error.response.get("OriginalStatusCode", 500))
        if status in (429, 503):
            return HttpError(status, "the model is busy; try again in a moment", 1)
        if 400 <= status < 500:
            return HttpError(status, error_line(error.response.get("OriginalMessage", "")) or HTTPStatus(status).phrase)
        log("model", error)
        return HttpError(502, "the model failed on this image")
    log("endpoint", error)
    status, wait, message = ENDPOINT_ERRORS.get(code, (502, 0, "the model cannot be reached"))
    return HttpError(status, message, wait)


def error_line(body: str) -> str:
    """The message of the container's {"error": message}; "" for anything else."""
    try:
        return str(json.loads(body)["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return ""


def limit() -> int:
    return int(os.environ.get("MAX_BYTES", MAX_BYTES))


def too_large() -> HttpError:
    return HttpError(413, f"the image is larger than {limit() / 1e6:.1f} MB; send a smaller one")


def reply(status: int, body: str | bytes, kind: str = "application/json") -> dict[str, Any]:
    binary = isinstance(body, bytes) and not kind.startswith(("application/json", "text/"))
    text = base64.b64encode(body).decode() if binary else body if isinstance(body, str) else body.decode()  # type: ignore[arg-type, union-attr]
    headers = {
        "Content-Type": kind,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if len(text.encode()) > MAX_ANSWER:
        raise HttpError(502, "the answer is larger than the 6 MB that come through here; ask for one label's heat map")
    return {"statusCode": status, "headers": headers, "body": text, "isBase64Encoded": binary}


def log(where: str, error: Exception) -> None:
    """One line of JSON for CloudWatch; no image, no header."""
    print(
        json.dumps({"level": "error", "where": where, "kind": type(error).__name__, "message": str(error)[:1000]}),
        flush=True,
    )
