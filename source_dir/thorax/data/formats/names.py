"""Names of columns, labels and values as people write them: case, spaces and signs do not tell them apart.

A hyperparameter cannot hold a space on its way through SageMaker's shell, so `PleuralEffusion` is "Pleural Effusion".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from thorax.errors import ThoraxError

#: Texts that say nothing.
BLANK = frozenset({"", "na", "n/a", "nan", "none", "null", "nil", "-", "<na>", "nat"})
#: Words for a patient whom nobody knows; taken for an id, they would make all such images one patient's.
_NOBODY = BLANK | {"unknown", "anonymous", "anonymized", "anonymised", "anon", "?"}
_BETWEEN = re.compile(r"[\s_/()\[\]{}'\"#]+|(?<=\w)-(?=\w)")
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
_WHOLE = re.compile(r"([-+]?\d+)\.0+")


@lru_cache(maxsize=100_000)
def key(name: str) -> str:
    """What names that mean the same have in common: "Pleural_Thickening " and "pleural thickening" give one key."""
    plain = unicodedata.normalize("NFC", name).strip()
    if _NUMBER.fullmatch(plain):
        return whole(plain)
    return _BETWEEN.sub("", plain).casefold()


def whole(text: str) -> str:
    """ "7" for "7.0", as tables write whole numbers in a column that has gaps; any other text as it is."""
    found = _WHOLE.fullmatch(text)
    return found[1] if found else text


def plain_ids(column: Iterable[str]) -> list[str]:
    """Ids of patients or studies as they compare: without blanks around, "7" for "7.0" ("007" stays), and "" for words
    that say nothing (nan, unknown)."""
    texts = list(column)
    known = {text: whole(text.strip()) for text in set(texts)}
    known |= {text: "" for text, plain in known.items() if plain.casefold() in _NOBODY}
    return [known[text] for text in texts]


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
