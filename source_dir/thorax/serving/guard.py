"""Keeps strangers out of a server on this machine, and tells browsers what they may do with what it sends.

A page of any site can make its visitor's browser send requests to 127.0.0.1. It can also give its own name that address
(DNS rebinding), and then read the answers too. Host and Origin tell such requests from one's own.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import socket
from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "thorax-token"
#: Methods that change nothing, and whose answers browsers show to pages of the same origin only.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page itself says the rest
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SafeHeaders:
    """Adds to each answer that it is no other type than it says, in no frame, and of no referrer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


class Guard:
    """Refuses requests to other host names (421), from pages of other sites (403), and without the token (401).

    Args:
        app: what it keeps.
        hosts: further names by which this server may be asked. Addresses, localhost and the machine's own name always
            may: no other site can take those.
        token: what callers must know; "": nothing. It comes as `Authorization: Bearer TOKEN`, or in the cookie that
            `/?token=TOKEN` sets. /ping needs none.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = (), token: str = "") -> None:
        self.app, self.token = app, token
        self.hosts = {"localhost", socket.gethostname().lower(), *(name.lower() for name in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._known(host):
            shown = json.dumps(host[:100])
            await _answer(
                send, 421, f"this server is not asked by the name {shown}; THORAX_HOSTS=NAME,... allows further names"
            )
        elif scope["method"] not in _SAFE and not _same_site(headers, host):
            await _answer(send, 403, "pages of other sites may not send requests to this server")
        elif self.token and scope["path"] != "/ping" and not self._has_token(headers):
            await self._ask_for_token(scope, send)
        else:
            await self.app(scope, receive, send)

    def _known(self, host: str) -> bool:
        name = _name_of(host)
        return name in self.hosts or _is_address(name)

    def _has_token(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._right(given.strip()):
            return True
        cookies = (cookie.strip().partition("=") for cookie in headers.get("cookie", "").split(";"))
        return any(name == COOKIE and self._right(value.strip('"')) for name, _, value in cookies)

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.token.encode())

    async def _ask_for_token(self, scope: Scope, send: Send) -> None:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["method"] == "GET" and scope["path"] == "/" and self._right((query.get("token") or [""])[0]):
            cookie = f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/"
            headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"referrer-policy", b"no-referrer")]
            await send({"type": "http.response.start", "status": 303, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        await _answer(
            send, 401, "this server asks for its token: open the address that it printed, or set THORAX_TOKEN to it"
        )


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _same_site(headers: Headers, host: str) -> bool:
    """Whether a request comes from a page of this server, or from no page."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    return origin is None or _place_of(origin) == host.lower()


def _place_of(origin: str) -> str:
    """Host and port of an origin, as a Host header has them; "" for `null` and what is no origin."""
    scheme, separator, place = origin.lower().partition("://")
    return place if separator and scheme in ("http", "https") else ""


async def _answer(send: Send, status: int, problem: str) -> None:
    body = json.dumps({"error": problem}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close")] + ([(b"www-authenticate", b"Bearer")] if status == 401 else [])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
