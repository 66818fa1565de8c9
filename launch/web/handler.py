"""The AWS Lambda behind the web page: serves the page, checks an image, invokes the SageMaker endpoint.

Takes the events of an HTTP API or a Function URL (payload 2.0) and of a REST API (1.0), under any stage. Nothing but
boto3 is needed.

GET  /             the page; /page.js, /page.css, /icon.svg
GET  /metadata     {"limits": {"max_request_bytes": ...}, "content_types": [...]}
POST /invocations  (or /, or any path of which the API has a route) an image: its bytes, multipart/form-data with one
                   file, or {"image": base64}; the reply is the endpoint's; ?explain=true&label=NAME adds heat maps

Environment: ENDPOINT_NAME; ALLOWED_ORIGIN, the other sites from which pages may ask, with commas between, * for any
(default: none); ANSWER, content type for callers who accept anything (default: application/json;verbose); MAX_BYTES of
an image; TIMEOUT_S to wait for the endpoint.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import os
import re
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError
from lambda_images import PAGES, form_file, image_of, kinds, pages
from lambda_request import MAX_BYTES, HttpError, HttpRequest, check_origin, cors_headers, limit

__all__ = ["MAX_BYTES", "PAGES", "HttpRequest", "form_file", "image_of", "lambda_handler"]

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
#: Characters of an Accept header and of CustomAttributes that SageMaker takes.
MAX_HEADER = 1024
#: Errors of the endpoint as responses: error code -> status, seconds to wait, message.
ENDPOINT_ERRORS = {
    "ThrottlingException": (429, 1, "too many images at once; try again in a moment"),
    "ServiceUnavailable": (503, 2, "the model is busy; try again in a moment"),
    "ServiceUnavailableException": (503, 2, "the model is busy; try again in a moment"),
    "ModelNotReadyException": (503, 10, "the model is starting; try again in a moment"),
}
#: What a line of the model's must not show to others: a path, an address, an account, a key, a traceback, code.
_PRIVATE = re.compile(
    r"(?<![\w/*])[.~]{0,2}/(?!/)[\w.]|[A-Za-z]:[\\/]|\\\\\w|~\w|\bopt/ml\b"
    r"|\bfile:|\barn:|\w://|(?<!\S)//\w|amazonaws\.com|\.internal\b|\blocalhost\b|\b\d{1,3}(\.\d{1,3}){3}\b"
    r"|\b\d{12}\b|\bA[KS]IA[A-Z0-9]{12}|Traceback|\bline \d+, in\b|\w\.py\b|\b\w*(Error|Exception)\b"
)
#: A request's number, as AWS writes them; its log line has it too.
_NUMBER = re.compile(r"[\w=-]{1,64}", re.ASCII)
_request: ContextVar[str] = ContextVar("request", default="")


def lambda_handler(event: Any, context: Any = None) -> dict[str, Any]:
    """The answer to one event, never an exception."""
    origin = ""
    _request.set(request_number(context))
    try:
        request = HttpRequest.of(event)
        origin = request.headers.get("origin", "")
        check_origin(origin, request.host)
        answer = respond(request)
    except HttpError as error:
        answer = error_reply(error.status, f"{error}{numbered() if error.logged else ''}")
        if error.retry_after:
            answer["headers"]["Retry-After"] = str(error.retry_after)
    except Exception as error:
        log("unexpected", error)
        answer = error_reply(500, f"something went wrong here; it is in the log{numbered()}")
    answer["headers"] |= cors_headers(origin)
    if asks_for_lists(event):
        answer["multiValueHeaders"] = {name: [text] for name, text in answer["headers"].items()}
    return answer


def request_number(context: Any) -> str:
    """The number by which this request's lines are found in the log; "" where it has none."""
    number = getattr(context, "aws_request_id", None)
    return number if isinstance(number, str) and _NUMBER.fullmatch(number) else ""


def numbered() -> str:
    """The end of a line whose reason is in the log."""
    return f" (request {_request.get()})" if _request.get() else ""


def asks_for_lists(event: Any) -> bool:
    """Whether it is of a load balancer that lists every header: it takes no other form in an answer."""
    return isinstance(event, dict) and isinstance(event.get("multiValueHeaders"), dict) and "headers" not in event


def respond(request: HttpRequest) -> dict[str, Any]:
    if request.method == "OPTIONS":
        return reply(204, "")
    if request.method in ("GET", "HEAD"):
        if request.name == "metadata":
            types = [kind["content_type"] for kind in kinds()]
            return reply(200, json.dumps({"limits": {"max_request_bytes": limit()}, "content_types": types}))
        return page(request)
    if request.method != "POST":
        raise HttpError(405, f"{request.method[:20]} is not taken here; GET the page or POST an image")
    if request.name not in ("", "invocations") and not request.has_route:
        raise HttpError(404, "there is nothing here; POST an image to /invocations")
    image, kind = image_of(request)
    return invoke(image, kind, request)


def page(request: HttpRequest) -> dict[str, Any]:
    """A file of the page."""
    if request.name not in FILES:
        raise HttpError(404, "there is nothing here; the page is at /")
    file = pages() / FILES[request.name]
    text = file.read_text(encoding="utf-8")
    if request.path == "/" and not request.address.endswith("/"):  # as in .../prod: its files are at .../prod/page.js
        base = f'<base href="{html.escape(request.address)}/">'
        text = text.replace("<head>", f"<head>\n  {base}", 1).replace("base-uri 'none'", "base-uri 'self'", 1)
    answer = reply(200, text, TYPES[file.suffix])
    answer["headers"] |= {"Cache-Control": "max-age=300", "Content-Security-Policy": "frame-ancestors 'none'"}
    return answer


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
        HttpError: 400 for options that cannot be asked; the endpoint cannot be reached, or refuses the image.
    """
    chosen = {key: text for key in ("explain", "label") if (text := request.query.get(key))}
    attributes = urlencode(chosen, errors="replace")
    if len(attributes) > MAX_HEADER:
        raise HttpError(400, "explain or label is too long")
    options = {"CustomAttributes": attributes} if attributes else {}
    accept, name = wanted(request), os.environ.get("ENDPOINT_NAME", "")
    try:
        found = runtime().invoke_endpoint(EndpointName=name, ContentType=kind, Accept=accept, Body=image, **options)
        return reply(200, found["Body"].read(), found.get("ContentType") or "application/octet-stream")
    except ClientError as error:
        raise http_error(error) from None
    except ReadTimeoutError as error:
        log("endpoint", error)
        raise HttpError(504, "the model took too long; try again", logged=True) from None
    except BotoCoreError as error:
        log("endpoint", error)
        raise HttpError(502, "the model cannot be reached", logged=True) from None


def wanted(request: HttpRequest) -> str:
    """The Accept header for the endpoint: the caller's, in which ANSWER stands for anything.

    Raises:
        HttpError: 400, it is none.
    """
    accept, otherwise = request.headers.get("accept", ""), os.environ.get("ANSWER") or "application/json;verbose"
    if not accept.isascii() or not accept.isprintable() or len(accept) > MAX_HEADER // 2:
        raise HttpError(400, "the Accept header is damaged or too long; ask for one content type, or leave it out")
    return accept.replace("*/*", otherwise, 1) if accept.strip() else otherwise


#: The statuses that say that the caller must ask otherwise.
_CALLERS = {status.value for status in HTTPStatus if 400 <= status < 500}


def http_error(error: ClientError) -> HttpError:
    """What the caller gets: the container's own 4xx as it is; everything else of AWS's stays in the log."""
    code = error.response.get("Error", {}).get("Code", "")
    if code == "ModelError":
        status = error.response.get("OriginalStatusCode", 500)
        if status in (429, 503):
            return HttpError(status, "the model is busy; try again in a moment", 1)
        if status in _CALLERS:
            line = error_line(error.response.get("OriginalMessage", ""))
            if not line:
                return HttpError(status, HTTPStatus(status).phrase)
            if not _PRIVATE.search(line):
                return HttpError(status, line)
            log("model", error)
            return HttpError(status, "the model refused the request; its reason is in the log", logged=True)
        log("model", error)
        return HttpError(502, "the model failed on this image", logged=True)
    log("endpoint", error)
    status, wait, message = ENDPOINT_ERRORS.get(code, (502, 0, "the model cannot be reached"))
    return HttpError(status, message, wait, logged=True)


def error_line(body: str) -> str:
    """The message of the container's {"error": message}; "" for anything else."""
    try:
        return str(json.loads(body)["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return ""


def error_reply(status: int, message: str) -> dict[str, Any]:
    """{"error": message}, the message on one line."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in message).split())
    return reply(status, json.dumps({"error": line}))


def reply(status: int, body: str | bytes, kind: str = "application/json") -> dict[str, Any]:
    text, binary = body if isinstance(body, str) else as_text(body, kind), False
    if text is None:
        assert isinstance(body, bytes)
        text, binary = base64.b64encode(body).decode(), True
    headers = {
        "Content-Type": kind,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if len(text.encode()) > MAX_ANSWER:
        raise HttpError(502, "the answer is larger than the 6 MB that come through here; ask for one label's heat map")
    return {"statusCode": status, "headers": headers, "body": text, "isBase64Encoded": binary}


def as_text(body: bytes, kind: str) -> str | None:
    """The body of a content type that is text; None where it is another, or is none."""
    if not kind.startswith(("application/json", "text/")):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def log(where: str, error: Exception) -> None:
    """One line of JSON for CloudWatch; no image, no header."""
    print(
        json.dumps(
            {
                "level": "error",
                "request": _request.get(),
                "where": where,
                "kind": type(error).__name__,
                "message": reason(error)[:1000],
            }
        ),
        flush=True,
    )


def reason(error: Exception) -> str:
    """An error in words, with the model's own line where there is one."""
    own = getattr(error, "response", {}).get("OriginalMessage") if isinstance(error, ClientError) else None
    return f"{error}; the model: {own}" if own else str(error)
