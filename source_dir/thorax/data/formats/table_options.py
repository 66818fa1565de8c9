"""What a user says about tables of labels: which column is what, which rows count, and what doubt means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from thorax.errors import ThoraxError

#: How several rows of one image become one: see `thorax.data.formats.merging`.
READERS = ("auto", "any", "majority", "mean")
BLANKS = ("auto", "unknown", "negative")
UNCERTAIN = ("ignore", "zero", "one", "class", "soft")


@dataclass(frozen=True)
class TableOptions:
    """The hyperparameters of the same names; see docs/data.md."""

    path_column: str = ""
    path_prefix: str = ""
    path_suffix: str = ""
    patient_column: str = ""
    study_column: str = ""
    label_columns: tuple[str, ...] = ()
    split_column: str = ""
    where: tuple[str, ...] = ()
    blank: str = "auto"
    readers: str = "auto"
    multi_label: bool | None = None

    @classmethod
    def of(cls, config: Any) -> TableOptions:
        """Those of a configuration."""
        values: dict[str, Any] = {field.name: getattr(config, field.name) for field in fields(cls)}
        given: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
        return cls(**given)

    @property
    def conditions(self) -> list[tuple[str, list[str]]]:
        """(column, its allowed values) of each condition of `where`."""
        return conditions(self.where)


NO_OPTIONS = TableOptions()


def conditions(where: Sequence[str]) -> list[tuple[str, list[str]]]:
    """`Frontal/Lateral=Frontal,Projection=PA,AP`, cut at the commas, as (column, values) pairs.

    Raises:
        ThoraxError: it begins with no `COLUMN=VALUE`.
    """
    found: list[tuple[str, list[str]]] = []
    for item in where:
        column, sign, value = item.rpartition("=")
        if sign and column:
            found.append((column, [value]))
        elif found and not sign:
            found[-1][1].append(item)
        else:
            raise ThoraxError(f"where={','.join(where)}: {item!r} is no condition; write COLUMN=VALUE or COLUMN=A,B")
    return found


@dataclass(frozen=True)
class Choice:
    """What becomes of the uncertain values of a label: one of UNCERTAIN, and the range of `soft`."""

    kind: str = "ignore"
    low: float = 0.0
    high: float = 0.0

    def __str__(self) -> str:
        return f"soft:{self.low:g}-{self.high:g}" if self.kind == "soft" else self.kind


def choices(uncertain: Sequence[str]) -> dict[str, Choice]:
    """The hyperparameter `uncertain`, such as ("ignore", "Edema:one", "Atelectasis:soft:0.55-0.85"), by label.

    The key "" holds what is for all other labels.

    Raises:
        ThoraxError: an unknown word, a range that is none in 0 to 1, or a label twice.
    """
    found: dict[str, Choice] = {}
    for item in uncertain:
        words = item.split(":")
        label = "" if words[0] in UNCERTAIN else words.pop(0)
        if label in found:
            raise ThoraxError(f"uncertain={','.join(uncertain)} says two things of {label or 'all labels'}")
        found[label] = _choice(words, item)
    return {"": Choice()} | found


def _choice(words: Sequence[str], item: str) -> Choice:
    kind, *rest = words or [""]
    if kind not in UNCERTAIN or len(rest) != (kind == "soft"):
        raise ThoraxError(
            f"uncertain: {item!r} is not known; write ignore, zero, one, class or soft:LOW-HIGH, for one label"
            " LABEL:one"
        )
    if not rest:
        return Choice(kind)
    try:
        low, high = (float(number) for number in rest[0].split("-"))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low <= high <= 1:
        raise ThoraxError(f"uncertain: {item!r}: the range must be two numbers from 0 to 1, such as soft:0.55-0.85")
    return Choice(kind, low, high)
