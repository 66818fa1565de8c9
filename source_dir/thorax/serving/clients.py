"""Who asks a server, and how much of it one client may hold.

A client is the address that a connection comes from (of IPv6 its /64, which is what a line gets). Behind a proxy that
is the proxy's for everybody; of proxies that `THORAX_PROXIES` names, X-Forwarded-For is believed.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from thorax.errors import ThoraxError

#: One client may hold so many times what it leaves to others: alone three quarters of all there is.
SHARE = 3.0
#: Nobody in particular: an address that is not known, of which no share is counted.
UNKNOWN = ""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Clients:
    """Tells the clients of requests apart.

    Args:
        proxies: addresses and networks of the proxies whose X-Forwarded-For is believed.

    Raises:
        ThoraxError: one of them is no address and no network.
    """

    def __init__(self, proxies: Iterable[str] = ()) -> None:
        self._proxies = [_network(proxy) for proxy in proxies]

    def of(self, scope: Mapping[str, Any]) -> str:
        """The client of a request, by its ASGI scope; UNKNOWN where the server does not say, or a proxy does not."""
        peer = (scope.get("client") or ("",))[0]
        if not self._is_proxy(peer):
            return key(peer)
        named = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
        for address in reversed(
            named.split(",")
        ):  # each hop adds the address that it saw at the end; the first may be invented
            if not self._is_proxy(address.strip()):
                return key(address.strip())
        return UNKNOWN

    def of_peer(self, address: str) -> str:
        """The client at the other end of a connection; UNKNOWN where that is a proxy."""
        return UNKNOWN if self._is_proxy(address) else key(address)

    def _is_proxy(self, address: str) -> bool:
        found = _address(address)
        return found is not None and any(found in network for network in self._proxies)


class Shares:
    """How much of something each client holds: of whatever is left, one may hold three times as much (SHARE), so that
    a client alone gets most of it and a new one always finds some (dynamic thresholds: Choudhury and Hahne, 1998).

    Args:
        limit: what all together may hold.

    Attributes:
        used: what all together hold.
    """

    def __init__(self, limit: float) -> None:
        self.limit, self.used = limit, 0.0
        self._held: dict[str, float] = {}
        self._lock = threading.Lock()

    def full(self, client: str, amount: float = 1) -> bool:
        """Whether `take` would refuse."""
        mine, left = self._held.get(client, 0.0) + amount, self.limit - self.used
        return amount > left or (client != UNKNOWN and mine > SHARE * left)

    def take(self, client: str, amount: float = 1) -> bool:
        """Whether the client may hold so much more; it then does, until `give`."""
        with self._lock:
            if self.full(client, amount):
                return False
            self.used += amount
            self._held[client] = self._held.get(client, 0.0) + amount
            return True

    def give(self, client: str, amount: float = 1) -> None:
        """Takes back what the client held."""
        with self._lock:
            self.used = max(0.0, self.used - amount)
            left = self._held.get(client, 0.0) - amount
            if left > 1e-9:
                self._held[client] = left
            else:
                self._held.pop(client, None)

    def held(self, client: str) -> float:
        """What the client holds."""
        return self._held.get(client, 0.0)


def key(address: str) -> str:
    """What a client is known by: its IPv4 address, the /64 of its IPv6 address, UNKNOWN of what is no address."""
    found = _address(address)
    if found is None:
        return UNKNOWN
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as proxies and sockets write it, perhaps with a port, a zone or brackets."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ThoraxError(f"THORAX_PROXIES names {text}; write addresses or networks such as 10.0.0.0/8") from None
