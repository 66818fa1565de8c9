"""A table of entries by name: what a network, a loss, a format, a metric or a tracker is added to."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from thorax.errors import ThoraxError

T = TypeVar("T")
#: The first registry of each kind in this process.
_OF_KIND: dict[str, Registry[Any]] = {}


class Registry(Generic[T]):
    """Entries of one kind by name, in the order in which they were registered.

    Args:
        kind: what an entry is called in messages, such as "network".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        _OF_KIND.setdefault(kind, self)

    def register(self, name: str, entry: T) -> T:
        """Adds an entry and returns it.

        Raises:
            ThoraxError: the name is taken.
        """
        if name in self._entries:
            raise ThoraxError(f"{self.kind} {name} is registered twice; choose another name")
        self._entries[name] = entry
        return entry

    def remove(self, name: str) -> None:
        """Takes an entry out again, as a test does with its own."""
        del self._entries[name]

    def __getitem__(self, name: str) -> T:
        """The entry of that name.

        Raises:
            ThoraxError: there is none; the message lists the known names and the nearest one.
        """
        if name not in self._entries:
            many = len(self._entries) > 20
            nearest = difflib.get_close_matches(name, self._entries, n=3 if many else 1)
            hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
            known = f"; {len(self)} are known" if many else f"; known are {', '.join(self._entries)}"
            raise ThoraxError(f"{self.kind} {name} is unknown{hint}{known}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def registered(kind: str) -> tuple[str, ...]:
    """Names in the registry of a kind; none where no module has made it yet.

    So the configuration knows what was registered from outside, and does not import what the names stand for.
    """
    return tuple(_OF_KIND.get(kind, ()))
