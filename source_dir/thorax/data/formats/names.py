"""Names of columns, labels and values as people write them: case, spaces and signs do not tell them apart.

A hyperparameter cannot hold a space on its way through SageMaker's shell, so `PleuralEffusion` is "Pleural Effusion".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from thorax.errors import ThoraxError

_BETWEEN = re.compile(r"[\s_/()\[\]{}'\"#]+|(?<=\w)-(?=\w)")
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


@lru_cache(maxsize=100_000)
def key(name: str) -> str:
    """What names that mean the same have in common: "Pleural_Thickening " and "pleural thickening" give one key."""
    plain = name.strip()
    return plain if _NUMBER.fullmatch(plain) else _BETWEEN.sub("", plain).casefold()


def same_value(one: str, other: str) -> bool:
    """Whether two cells hold one value: case and spaces aside, numbers by their size."""
    a, b = ("".join(text.split()).replace("_", "").casefold() for text in (one, other))
    if a == b:
        return True
    try:
        return float(a) == float(b)
    except ValueError:
        return False


def place_of(name: str, names: Sequence[str], what: str) -> int | None:
    """Where `name` is among the names: as it is written, else the one that differs in case, spaces and signs only.

    Raises:
        ThoraxError: several differ from it so; `what` says what they are.
    """
    if name in names:
        return list(names).index(name)
    found = [k for k, other in enumerate(names) if key(other) == key(name)]
    if len(found) > 1:
        raise ThoraxError(
            f"{name} may be {' or '.join(names[k] for k in found)}: {what} differ in case and spaces only"
        )
    return found[0] if found else None


def check_spellings(names: Iterable[str], where: str) -> None:
    """Raises ThoraxError where two of these labels are one name in two spellings; `where` is the place of them."""
    first: dict[str, str] = {}
    for name in names:
        plain = key(name) or name
        if (other := first.setdefault(plain, name)) is not name:
            raise ThoraxError(
                f"{where} has the labels {other!r} and {name!r}, which differ in case, spaces and signs only; make them"
                " one"
            )


def resolved(wanted: Iterable[str], names: Sequence[str], what: str) -> list[str]:
    """The wanted names as `names` writes them; those that are not among them as they are."""
    places = [(name, place_of(name, names, what)) for name in wanted]
    return [name if k is None else names[k] for name, k in places]
