"""Who a client is, and how much of a server one may hold."""

from __future__ import annotations

import pytest

from thorax.errors import ThoraxError
from thorax.serving.clients import UNKNOWN, Clients, Shares
from thorax.serving.settings import ServerSettings


def scope(peer: str | None, *forwarded: str) -> dict:
    headers = [(b"x-forwarded-for", text.encode()) for text in forwarded]
    return {"client": None if peer is None else (peer, 4321), "headers": headers}


@pytest.mark.parametrize(
    ("asked", "client"),
    [
        (scope("10.1.2.3"), "10.1.2.3"),
        (scope("10.1.2.3", "8.8.8.8"), "10.1.2.3"),  # anybody can write this header
        (scope("::ffff:10.1.2.3"), "10.1.2.3"),
        (scope("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64"),
        (scope("fe80::1%eth0"), "fe80::/64"),
        (scope("192.168.0.9", "8.8.8.8"), "8.8.8.8"),
        (scope("192.168.0.9", "1.1.1.1, 8.8.8.8"), "8.8.8.8"),  # the first was invented by the caller
        (scope("192.168.0.9", "1.1.1.1", "8.8.8.8, 192.168.7.7"), "8.8.8.8"),
        (scope("192.168.0.9", "[2001:db8::7]:443"), "2001:db8::/64"),
        (scope("192.168.0.9", "8.8.8.8:5555"), "8.8.8.8"),
        (scope("192.168.0.9"), UNKNOWN),
        (scope("192.168.0.9", "unknown"), UNKNOWN),
        (scope("192.168.0.9", "192.168.0.1"), UNKNOWN),
        (scope(None), UNKNOWN),
        (scope("test"), UNKNOWN),
    ],
)
def test_who_a_client_is(asked, client):
    assert Clients(["192.168.0.0/16"]).of(asked) == client


@pytest.mark.parametrize("proxy", ["lan", "10.0.0.0/40", ""])
def test_a_proxy_that_is_no_address(proxy):
    with pytest.raises(ThoraxError, match="THORAX_PROXIES names"):
        ServerSettings(proxies=(proxy,))


def taken(shares: Shares, client: str) -> int:
    count = 0
    while shares.take(client):
        count += 1
    return count


def test_a_new_client_always_finds_room():
    shares = Shares(64)
    counts = [taken(shares, f"1.1.1.{k}") for k in range(4)]
    assert counts[0] == 48 and counts[1] == 12 and min(counts[:3]) > 0
    assert sum(counts) == shares.used <= 64
    for _ in range(48):
        shares.give("1.1.1.0")
    assert shares.held("1.1.1.0") == 0 and taken(shares, "1.1.1.9") > 30


def test_whoever_is_not_known_has_no_share():
    """All callers behind a proxy that does not tell them apart."""
    assert taken(Shares(64), UNKNOWN) == 64


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_small_server_is_one_clients(limit):
    assert taken(Shares(limit), "1.1.1.1") == limit
