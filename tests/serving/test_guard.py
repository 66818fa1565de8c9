"""Pages of other sites, other host names and callers without the token are kept out of a server on this machine."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hosting import Client
from thorax.errors import ThoraxError
from thorax.serving.guard import Guard
from thorax.serving.settings import ServerSettings

TOKEN = "a-token_of.24-characters"


async def fine(request):
    return PlainTextResponse("fine")


APP = Starlette(routes=[Route(path, fine, methods=["GET", "POST"]) for path in ("/", "/ping", "/invocations")])


def ask(app, method="POST", path="/invocations", query=b"", **headers) -> tuple[int, dict[str, str], bytes]:
    """One request to an ASGI application: status, headers and body."""
    told: list[dict] = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        told.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(key.replace("_", "-").lower().encode(), value.encode()) for key, value in headers.items()],
    }
    asyncio.run(app(scope, receive, send))
    found = {key.decode().lower(): value.decode() for key, value in told[0]["headers"]}
    return told[0]["status"], found, b"".join(message.get("body", b"") for message in told[1:])


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "127.0.0.1:8080",
            "localhost:8080",
            "LOCALHOST",
            "localhost.:8080",
            "[::1]:8080",
            "[fe80::1%25eth0]",
        ),
        *("192.168.1.7:80", "10.0.0.1", socket.gethostname(), "box.lan:8080", "Box.LAN"),
    ],
)
def test_own_names_and_addresses_are_served(host):
    assert ask(Guard(APP, ["box.lan"]), Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "a@localhost.evil",
        ),
        *("127.0.0.1@evil.example", "[::1", "evil.example#127.0.0.1", "box.lan.evil", "2130706433"),
    ],
)
def test_other_names_are_refused_whatever_they_resolve_to(host):
    status, _, body = ask(Guard(APP, ["box.lan"]), "GET", Host=host)
    assert status == 421
    assert "THORAX_HOSTS=NAME,... allows further names" in json.loads(body)["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9090"},
        {"Origin": "http://localhost:8080.evil.example"},
        {"Origin": "file://"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_of_another_site_may_not_post(headers):
    guarded = Guard(APP)
    assert ask(guarded, Host="localhost:8080", **headers)[0] == 403
    assert ask(guarded, "GET", "/ping", Host="localhost:8080", **headers)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:8080"},
        {"Origin": "HTTP://LOCALHOST:8080", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_its_own_page_and_programs_may(headers):
    assert ask(Guard(APP), Host="localhost:8080", **headers)[0] == 200


def test_with_a_token_only_who_knows_it_is_answered():
    guarded = Guard(APP, token=TOKEN)
    ours = {"Host": "localhost:8080"}
    status, headers, body = ask(guarded, **ours)
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert "asks for its token" in json.loads(body)["error"]
    for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", TOKEN, "Bearer \xff"):
        assert ask(guarded, **ours, Authorization=wrong)[0] == 401
    assert ask(guarded, **ours, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(guarded, **ours, Authorization=f"bearer  {TOKEN} ")[0] == 200
    assert ask(guarded, "GET", "/ping", **ours)[0] == 200


def test_the_printed_address_lets_a_browser_in():
    guarded = Guard(APP, token=TOKEN)
    ours = {"Host": "localhost:8080"}
    assert ask(guarded, "GET", "/", b"token=wrong", **ours)[0] == 401
    status, headers, _ = ask(guarded, "GET", "/", f"token={TOKEN}".encode(), **ours)
    assert (status, headers["location"]) == (303, "/")
    assert "HttpOnly" in headers["set-cookie"] and "SameSite=Strict" in headers["set-cookie"]
    cookie = headers["set-cookie"].partition(";")[0]
    assert ask(guarded, "GET", "/", **ours, Cookie=f"other=1; {cookie}")[0] == 200
    assert ask(guarded, "GET", "/", **ours, Cookie="thorax-token=wrong")[0] == 401


@pytest.mark.parametrize("token", ["short", "with a blank in the middle", "semicolon;semicolon;", "x" * 201, "ä" * 20])
def test_tokens_that_no_cookie_can_carry(token):
    with pytest.raises(ThoraxError, match="THORAX_TOKEN must be 16 to 200 letters"):
        ServerSettings(token=token)


def test_the_token_is_not_shown():
    assert TOKEN not in repr(ServerSettings(token=TOKEN))


def test_answers_say_what_browsers_may_do_with_them(client: Client):
    for method, path in (("GET", "/"), ("GET", "/ping"), ("GET", "/metadata"), ("POST", "/invocations")):
        headers = client.ask(method, path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "frame-ancestors 'none'"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
