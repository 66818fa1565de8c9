"""What comes before a request has begun is limited in bytes and in seconds, with either parser of uvicorn."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from thorax.serving.settings import ServerSettings
from thorax_launch.local import uvicorn_server


async def echo(request):
    return PlainTextResponse(str(len(await request.body())))


APP = Starlette(routes=[Route("/", echo, methods=["GET", "POST"])])


@contextmanager
def served(app, settings: ServerSettings | None = None) -> Iterator[int]:
    """The port of a server in a thread of this process."""
    listening = uvicorn_server.listen("127.0.0.1", 0)
    server = uvicorn_server.server_of(app, settings or ServerSettings())
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
    assert not thread.is_alive()


@pytest.fixture(params=["httptools", "h11"])
def port(request, monkeypatch) -> Iterator[int]:
    """With either of the parsers that uvicorn may have."""
    if request.param == "h11":
        from uvicorn.protocols.http.h11_impl import H11Protocol as Protocol
    else:
        Protocol = pytest.importorskip("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol
    monkeypatch.setattr("uvicorn.protocols.http.auto.AutoHTTPProtocol", Protocol)
    monkeypatch.setattr(uvicorn_server, "PATIENCE", 0.4)
    uvicorn_server.careful_protocol.cache_clear()
    with served(APP) as number:
        yield number
    uvicorn_server.careful_protocol.cache_clear()


def connection(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def until_closed(caller: socket.socket) -> bytes:
    found = b""
    try:
        while more := caller.recv(65536):
            found += more
    except ConnectionError:
        pass
    return found


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"GET / HTTP/1.1\r\n"])
def test_an_endless_line_or_header_is_cut_off(port, start):
    """httptools alone would take 75 MB of it, one byte at a time, before anybody else is answered."""
    sent = 0
    with connection(port) as caller:
        try:
            caller.sendall(start)
            while sent < 8 * 2**20:
                caller.sendall(b"a: b\r\n" * 2000 if start.endswith(b"\r\n") else b"a" * 12000)
                sent += 12000
        except ConnectionError:
            pass
        until_closed(caller)
    assert sent < 8 * 2**20
    assert requests.get(f"http://127.0.0.1:{port}/", timeout=20).text == "0"


def test_headers_of_ordinary_size_pass(port):
    headers = {f"X-{k}": "v" * 1000 for k in range(30)}
    assert requests.post(f"http://127.0.0.1:{port}/", b"12345", headers=headers, timeout=20).text == "5"


def test_half_sent_headers_are_cut_off_in_time_and_lock_nobody_out(port):
    callers = [connection(port) for _ in range(140)]
    for caller in callers[:70]:
        caller.sendall(b"GET / HTTP/1.1\r\nHost: lo")
    assert requests.get(f"http://127.0.0.1:{port}/", timeout=20).text == "0"
    for caller in callers:
        assert until_closed(caller) in (
            b"",
            b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        )
        caller.close()


def test_a_body_may_take_longer_than_a_header(port):
    with connection(port) as caller:
        caller.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nConnection: close\r\n\r\n")
        for byte in (b"a", b"b", b"c", b"d"):
            time.sleep(0.2)
            caller.sendall(byte)
        assert until_closed(caller).endswith(b"\r\n\r\n4")


def test_a_kept_connection_answers_again_and_again(port):
    with requests.Session() as session:
        for size in (0, 100_000, 7):
            assert session.post(f"http://127.0.0.1:{port}/", b"x" * size, timeout=20).text == str(size)
