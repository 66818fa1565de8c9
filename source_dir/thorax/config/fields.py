"""How one hyperparameter is described: its help text, spellings, range and choices, and how its text is read."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from thorax.errors import ThoraxError, deprecated

TRUE = ("true", "True", "1", "yes")
FALSE = ("false", "False", "0", "no")
#: Texts that mean "not set": SageMaker's toolkit writes None as an empty text, SDK v3's driver as null.
UNSET = ("", "null", "None", "none")


@dataclass(frozen=True)
class Spelling:
    """Another name of a field.

    Attributes:
        name: as the user writes it.
        origin: who uses this name: "built-in" (Image Classification algorithm), "seed" scripts, "timm" ...
        translate: maps the other name's text to this field's text, where the values differ too.
    """

    name: str
    origin: str
    translate: Callable[[str], str] | None = None


@dataclass(frozen=True)
class FieldSpec:
    """What a hyperparameter means, for the parser, the checks and the generated table.

    Attributes:
        renamed: former choice -> its name now; accepted with a deprecation line, and what bundles and checkpoints
            store.
    """

    help: str
    group: str
    spellings: tuple[Spelling, ...] = ()
    choices: Sequence[str] = ()
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    affects_result: bool = True
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)


def parameter(default: Any, help: str, group: str, **about: Any) -> Any:
    """A dataclass field with its description."""
    return dataclasses.field(default=default, metadata={"about": FieldSpec(help, group, **about)})


def about(field: dataclasses.Field[Any]) -> FieldSpec:
    described = field.metadata["about"]
    assert isinstance(described, FieldSpec)
    return described


def range_text(a: FieldSpec) -> str:
    """The allowed values in words, for the table and for errors."""
    if a.choices:
        return ", ".join(a.choices)
    if a.low is not None and a.high is not None:
        return f"{'above ' if a.open_low else ''}{plain(a.low)} to {plain(a.high)}"
    if a.low is not None:
        return f"{'above' if a.open_low else 'at least'} {plain(a.low)}"
    return ""


def plain(number: float) -> str:
    """A number as people write it: fixed-point, no exponent, no trailing zeros."""
    if abs(number) >= 1e15:
        return f"{number:.6g}"  # only in errors; hundreds of digits help nobody
    return str(int(number)) if float(number).is_integer() else f"{Decimal(str(number)):f}"


def read_bool(name: str, text: str) -> bool:
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ThoraxError(f"{name}={text!r} is not a boolean; write one of {', '.join(TRUE + FALSE)}")


def read_int(name: str, text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or not number.is_integer():
        raise ThoraxError(f"{name}={text!r} is not a whole number")
    return int(number)


def read_float(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ThoraxError(f"{name}={text!r} is not a number") from None
    if not math.isfinite(number):
        raise ThoraxError(f"{name}={text!r} is not a finite number")
    return number


def read_names(text: str) -> tuple[str, ...]:
    """A comma list; the toolkit's repr of a list (['a', 'b']) and a JSON list are taken too."""
    parts = (part.strip().strip("'\"").strip() for part in text.strip().removeprefix("[").removesuffix("]").split(","))
    return tuple(part for part in parts if part)


def read_ints(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(read_int(name, part) for part in re.split(r"[,\s]+", text.strip().strip("()[]")) if part)
    except ThoraxError:
        raise ThoraxError(f"{name}={text!r} is not a comma list of whole numbers") from None


_READERS: dict[str, Callable[[str, str], Any]] = {
    "bool": read_bool,
    "int": read_int,
    "float": read_float,
    "str": lambda name, text: text,
    "tuple[str, ...]": lambda name, text: read_names(text),
    "tuple[int, ...]": read_ints,
}


def kind(field: dataclasses.Field[Any]) -> str:
    """The field's type without "| None": bool, int, float, str, tuple[str, ...] or tuple[int, ...]."""
    return str(field.type).removesuffix(" | None")


def read(field: dataclasses.Field[Any], name: str, text: str) -> Any:
    """The value that `text` means for `field`; `name` is the spelling the user chose, for errors.

    Raises:
        ThoraxError: of another type, out of range, or not one of the choices.
    """
    may_be_unset = text in ("", "null") or field.default in (None, ())
    if text in UNSET and may_be_unset and text not in about(field).choices:
        return field.default
    if {"true", "false"} <= set(about(field).choices):  # a boolean with a third value
        text = "true" if text in TRUE else "false" if text in FALSE else text
    if text in about(field).renamed:
        deprecated(f"{name}={text}", f"{name}={about(field).renamed[text]}")
        text = about(field).renamed[text]
    value = _READERS[kind(field)](name, text)
    check(field, name, value)
    return value


def check(field: dataclasses.Field[Any], name: str, value: Any) -> None:
    """Raises ThoraxError where `value` is outside the field's range or choices."""
    a = about(field)
    values: Sequence[Any] = value if isinstance(value, tuple) else (value,)
    for each in values:
        if a.choices and each not in a.choices:
            raise ThoraxError(
                f"{name}={each} is not {'one of ' if len(a.choices) > 1 else 'offered, only '}{', '.join(a.choices)}"
            )
        below = a.low is not None and (each <= a.low if a.open_low else each < a.low)
        if not a.choices and (below or (a.high is not None and each > a.high)):
            raise ThoraxError(f"{name}={plain(each)} is out of range: it must be {range_text(a)}")
