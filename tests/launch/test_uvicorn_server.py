"""What a connection may do besides its requests is limited in bytes and in seconds, with either parser of uvicorn."""

from __future__ import annotations

import asyncio
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
from thorax_launch.local import careful_protocol, uvicorn_server


async def echo(request):
    return PlainTextResponse(str(len(await request.body())))


async def slow(request):
    await asyncio.sleep(5)
    return PlainTextResponse("slept")


async def large(request):
    return PlainTextResponse(b"x" * 30_000_000)


APP = Starlette(routes=[Route("/", echo, methods=["GET", "POST"]), Route("/slow", slow), Route("/large", large)])


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
    monkeypatch.setattr(careful_protocol, "PATIENCE", 0.4)
    monkeypatch.setattr(careful_protocol, "READING", 0.4)
    monkeypatch.setattr(careful_protocol, "connections", lambda: 300)
    careful_protocol.careful_protocol.cache_clear()
    with served(APP) as number:
        yield number
    careful_protocol.careful_protocol.cache_clear()


def connection(port: int, client: str = "127.0.0.1") -> socket.socket:
    """Of a client with an address of its own, of which this machine has many."""
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(client, 0))


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


PING = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def asked(port: int, sent: bytes, client: str = "127.0.0.1") -> bytes:
    with connection(port, client) as caller:
        caller.sendall(sent)
        return until_closed(caller)


def test_a_client_with_many_idle_connections_locks_neither_others_nor_itself_out(port):
    """A new one takes the place of the one that is idle for longest."""
    crowd = [connection(port, "127.0.0.2") for _ in range(290)]
    assert asked(port, PING, "127.0.0.3").endswith(b"\r\n\r\n0")
    assert asked(port, PING, "127.0.0.2").endswith(b"\r\n\r\n0")
    for caller in crowd:
        caller.close()


def test_a_client_whose_requests_do_not_end_leaves_connections_to_others(port):
    """Of 300 connections one client may have three quarters: there is nothing idle to take away from it."""
    begun = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    crowd = []
    for _ in range(260):
        crowd.append(connection(port, "127.0.0.2"))
        try:
            crowd[-1].sendall(begun)
        except ConnectionError:
            pass
    assert asked(port, PING, "127.0.0.3").endswith(b"\r\n\r\n0")
    closed = [caller for caller in crowd[-20:] if until_closed(caller) == b""]
    assert len(closed) == 20
    for caller in crowd:
        caller.close()


def test_a_header_behind_a_request_that_is_being_answered_is_limited_too(port):
    sent = 0
    with connection(port) as caller:
        caller.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.1)
        try:
            caller.sendall(b"GET / HTTP/1.1\r\nX: ")
            caller.settimeout(3)
            while sent < 30 * 2**20:
                caller.sendall(b"a" * 12000)
                sent += 12000
        except OSError:  # it is closed, or nothing is read of it
            pass
    assert sent < 30 * 2**20


def test_an_answer_that_is_not_read_is_not_kept(port):
    with connection(port) as caller:
        caller.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(1.5)
        assert len(until_closed(caller)) < 30_000_000
    assert len(requests.get(f"http://127.0.0.1:{port}/large", timeout=20).content) == 30_000_000


def test_a_body_of_single_bytes_is_cut_off(port, request):
    """Its pieces cost a thousand times what their bytes do."""
    if "h11" in request.node.callspec.id:
        pytest.skip("h11 does not tell of pieces; uvicorn uses it only where httptools is not installed")
    with connection(port) as caller:
        caller.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 20 * 2**20:
                caller.sendall(b"1\r\nx\r\n" * 2000)
                sent += 12000
        except ConnectionError:
            pass
    assert sent < 20 * 2**20


def test_a_body_of_ordinary_pieces_passes(port):
    pieces = (b"x" * 1000 for _ in range(300))
    assert requests.post(f"http://127.0.0.1:{port}/", pieces, timeout=20).text == "300000"


def test_there_are_no_websockets(port):
    upgrade = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    assert b" 101 " not in asked(port, upgrade)
