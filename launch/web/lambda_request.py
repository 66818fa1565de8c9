"""The events of an HTTP API or a Function URL (payload 2.0) and of a REST API (1.0), as one kind of request."""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

#: Lambda takes 6 MB an event, in which an image is base64, a third larger.
MAX_BYTES = 4_400_000


class HttpError(Exception):
    """A response other than 200; the message is for the caller. `logged`: more of it is in the log."""

    def __init__(self, status: int, message: str, retry_after: int = 0, logged: bool = False) -> None:
        super().__init__(message)
        self.status, self.retry_after, self.logged = status, retry_after, logged


@dataclass(frozen=True)
class HttpRequest:
    """One event, of either version.

    Attributes:
        method: in capitals.
        path: below the stage; "/" for the root.
        address: the whole path, as the caller wrote it.
        headers: by name in small letters.
        query: by name.
        host: of the address.
        body: as text.
        is_base64: whether that is base64.
        has_route: whether the API has a route of this very path, so that its operator chose the name.
    """

    method: str
    path: str
    address: str
    headers: dict[str, str]
    query: dict[str, str]
    host: str
    body: str
    is_base64: bool
    has_route: bool

    @classmethod
    def of(cls, event: Any) -> HttpRequest:
        """The request in an event.

        Raises:
            HttpError: 400, it is the event of something else.
        """
        event = _object(event, "the event")
        context = _object(event.get("requestContext"), "requestContext")
        http = _object(context.get("http"), "requestContext.http")
        headers = {name.lower(): value for name, value in _texts(event, "headers", "multiValueHeaders").items()}
        written = _text(event.get("rawPath") or event.get("path"), "path") or "/"
        stage, resource = _text(context.get("stage"), "stage"), _text(event.get("resource"), "resource")
        route = resource or _text(event.get("routeKey"), "routeKey").partition(" ")[2]
        path = written
        if stage and (written == f"/{stage}" or written.startswith(f"/{stage}/")):
            path = written[len(stage) + 1 :] or "/"
        return cls(
            (_text(http.get("method") or event.get("httpMethod"), "method") or "GET").upper(),
            "/" if resource == "/" else path,
            _text(context.get("path"), "requestContext.path") or written,
            headers,
            _texts(event, "queryStringParameters", "multiValueQueryStringParameters"),
            _text(context.get("domainName"), "domainName") or headers.get("host", ""),
            _text(event.get("body"), "body"),
            str(event.get("isBase64Encoded")).lower() == "true",
            bool(route) and "{" not in route,
        )

    @property
    def name(self) -> str:
        """The last word of the path, so that folders in front of it do not matter."""
        return self.path.rpartition("/")[2]

    @property
    def is_json(self) -> bool:
        return self.headers.get("content-type", "").strip().lower().startswith("application/json")

    def data(self) -> bytes:
        """The body's bytes; its size is checked before it is decoded.

        Raises:
            HttpError: 413 too large; 400 damaged.
        """
        larger = (4 / 3) ** (self.is_base64 + self.is_json)  # JSON holds the image in base64 too
        if len(self.body) > limit() * larger + 4096:  # room for a form's headers
            raise too_large()
        if self.is_base64:
            return from_base64(self.body)
        if "\ufffd" in self.body and not self.is_json:
            raise HttpError(400, "the image came as text, which damages it: the API's binary media types must have */*")
        return self.body.encode(errors="replace")


def _object(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise HttpError(400, f"{what} is no JSON object: this is not the event of an HTTP API or a REST API")
    return value


def _text(value: Any, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise HttpError(400, f"{what} is no text: this is not the event of an HTTP API or a REST API")
    return value


def _texts(event: dict[str, Any], one: str, many: str) -> dict[str, str]:
    """The texts of two fields: name -> text, and name -> list of texts, which are joined by commas."""
    found = {}
    for name, values in _object(event.get(many), many).items():
        if not isinstance(values, list):
            raise HttpError(400, f"{many} has no lists: this is not the event of an HTTP API or a REST API")
        found[name] = ", ".join(_text(value, many) for value in values)
    return found | {name: _text(value, one) for name, value in _object(event.get(one), one).items()}


def from_base64(text: str) -> bytes:
    """Raises HttpError: 400, it is damaged. Line breaks are none of its letters and do no harm."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise HttpError(400, "the base64 is damaged") from None


def limit() -> int:
    """Bytes of an image, at most."""
    return int(os.environ.get("MAX_BYTES", MAX_BYTES))


def too_large() -> HttpError:
    return HttpError(413, f"the image is larger than {limit() / 1e6:.1f} MB; send a smaller one")


# -- Other sites -----------------------------------------------------------------------------------------------------


def allowed_origins() -> set[str]:
    """Sites from whose pages requests are taken besides this one's: ALLOWED_ORIGIN, with commas or blanks between."""
    return {word.rstrip("/").lower() for word in re.split(r"[,\s]+", os.environ.get("ALLOWED_ORIGIN", "")) if word}


def check_origin(origin: str, host: str) -> None:
    """Refuses requests that another site's page sends, so that no other site uses this endpoint."""
    if origin and not _allowed(origin) and _host(origin) != host:
        raise HttpError(403, "this address does not take requests from pages of other sites")


def cors_headers(origin: str) -> dict[str, str]:
    """What a browser must read before it gives an answer to another site's page. `origin`: of the request."""
    if not allowed_origins():
        return {}
    if not origin or not _allowed(origin):
        return {"Vary": "Origin"}
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": "*" if "*" in allowed_origins() else origin,
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Max-Age": "3600",
        "Access-Control-Allow-Headers": "Content-Type, Accept",
        "Access-Control-Expose-Headers": "Retry-After",
    }


def _allowed(origin: str) -> bool:
    return bool({origin.lower(), "*"} & allowed_origins())


def _host(origin: str) -> str:
    """The host in an origin; "" where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
