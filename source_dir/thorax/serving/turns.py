"""An order of work that is fair between clients: next is who has used least (start-time fair queueing: Goyal, Vin and
Cheng, 1996)."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")

#: Clients whose use is remembered; where there are more, the half that has used least is forgotten.
_REMEMBERED = 1000


class FairQueue(Generic[Item]):
    """A queue in which the clients' items come in turn: next is the oldest of the client that has used least.

    Not safe for threads: its users hold a lock.
    """

    def __init__(self) -> None:
        self._lines: dict[str, deque[tuple[int, Item]]] = {}
        self._ahead: deque[Item] = deque()
        self._used: dict[str, float] = {}
        self._now = 0.0  # what the client used that was served last: who comes anew begins there
        self._count = self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, client: str, item: Item) -> None:
        """Adds an item at the end of its client's line."""
        self._count, self._size = self._count + 1, self._size + 1
        self._lines.setdefault(client, deque()).append((self._count, item))
        self._used[client] = max(self._used.get(client, 0.0), self._now)

    def push_first(self, item: Item) -> None:
        """Adds an item that goes before all others and is on nobody's account."""
        self._size += 1
        self._ahead.append(item)

    def longest(self) -> int:
        """How many items of one client wait."""
        return max(map(len, self._lines.values()), default=0)

    def first(self) -> Item:
        """The item that is next."""
        return self._ahead[0] if self._ahead else self._lines[self._next()][0][1]

    def pop(self, cost: float = 1.0) -> Item:
        """Takes the next item out; its client has used `cost` more."""
        self._size -= 1
        if self._ahead:
            return self._ahead.popleft()
        client = self._next()
        line = self._lines[client]
        _, item = line.popleft()
        if not line:
            del self._lines[client]
        self.charge(client, cost)
        return item

    def charge(self, client: str, cost: float) -> None:
        """The client is served, and has used so much more (or less than it was charged for)."""
        used = max(self._used.get(client, 0.0), self._now)
        if cost >= 0:
            self._now = used
        self._used[client] = used + cost
        if len(self._used) > _REMEMBERED:
            known = [name for name in self._used if name not in self._lines]
            for name in sorted(known, key=lambda name: self._used[name])[: len(known) // 2]:
                del self._used[name]

    def _next(self) -> str:
        return min(self._lines, key=lambda client: (self._used[client], self._lines[client][0][0]))


class Turns:
    """Lets so many threads work at once, in an order that is fair between clients by the seconds that they use.

    Args:
        places: threads that work at once.
    """

    def __init__(self, places: int) -> None:
        self._free, self._lock = places, threading.Lock()
        self._queue: FairQueue[_Waiting] = FairQueue()

    @contextmanager
    def turn(self, client: str, deadline: float, expected: float = 0.01) -> Iterator[None]:
        """Waits for a place and holds it.

        Args:
            client: who is served.
            deadline: of time.monotonic().
            expected: seconds that the place is held, about: counted until it is known.

        Raises:
            TimeoutError: there is no place until `deadline`.
        """
        self._wait(client, deadline, expected)
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._queue.charge(client, time.monotonic() - began - expected)
                self._leave()

    def _wait(self, client: str, deadline: float, expected: float) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                self._queue.charge(client, expected)
                return
            mine = _Waiting(client, expected)
            self._queue.push(client, mine)
        if mine.come.wait(max(0.0, deadline - time.monotonic())):
            return
        with self._lock:
            if mine.come.is_set():  # in the last moment
                self._leave()
            mine.gone = True
        raise TimeoutError

    def _leave(self) -> None:
        """Gives a place to who is next."""
        while len(self._queue):
            other = self._queue.pop(0.0)
            if not other.gone:
                self._queue.charge(other.client, other.expected)
                other.come.set()
                return
        self._free += 1


@dataclass(eq=False)
class _Waiting:
    """Who waits for a place."""

    client: str
    expected: float
    come: threading.Event = field(default_factory=threading.Event)
    gone: bool = False
