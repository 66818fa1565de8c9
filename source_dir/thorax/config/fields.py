"""How one hyperparameter is described: its help text, spellings, range and choices, and how its text is read."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from thorax.errors import ThoraxError, deprecated
from thorax.registry import registered

TRUE = ("true", "True", "1", "yes")
FALSE = ("false", "False", "0", "no")
#: Texts that mean "not set": SageMaker's toolkit writes None as an empty text, SDK v3's driver as null.
UNSET = ("", "null", "None", "none")


@dataclass(frozen=True)
class Spelling:
    """Another name of a field.

    Attributes:
        name: as the user writes it.
        origin: who uses this name: "built-in" (SageMaker's Image Classification algorithm), "script-mode" (training
            scripts of SageMaker's examples), "timm" or "torchvision".
        translate: maps the other name's text to this field's text, where the values differ too.
    """

    name: str
    origin: str
    translate: Callable[[str], str] | None = None


@dataclass(frozen=True)
class FieldSpec:
    """What a hyperparameter means, for the parser, the checks and the generated table.

    Attributes:
        help: what it means, for the reference page and --help.
        spellings: its other names.
        choices: the texts that it takes, or a registry of them; none for a free value.
        registry: kind of the registry that takes more choices from outside, such as "loss".
        low, high: its range, ends included, but for an `open_low`.
        affects_result: whether another value trains another network; only such values tell two runs apart.
        renamed: former choice -> its name now; accepted with a deprecation line, and what bundles and checkpoints
            store.
    """

    help: str
    spellings: tuple[Spelling, ...] = ()
    choices: Collection[str] = ()
    registry: str = ""
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    affects_result: bool = True
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)


def parameter(default: Any, help: str, **about: Any) -> Any:
    """A dataclass field with its description."""
    return dataclasses.field(default=default, metadata={"about": FieldSpec(help, **about)})


def about(field: dataclasses.Field[Any]) -> FieldSpec:
    described = field.metadata["about"]
    assert isinstance(described, FieldSpec)
    return described


#: More choices than these are not written out.
_MANY = 20


def range_text(a: FieldSpec) -> str:
    """The allowed values in words, for the table and for errors."""
    if a.choices:
        some = list(a.choices)
        return ", ".join(some if len(some) <= _MANY else [*some[:5], f"... ({len(some)} in all)"])
    if a.low is not None and a.high is not None:
        return f"{'above ' if a.open_low else ''}{plain(a.low)} to {plain(a.high)}"
    if a.low is not None:
        return f"{'above' if a.open_low else 'at least'} {plain(a.low)}"
    return ""


def plain(number: float) -> str:
    """A number as people write it: fixed-point, no exponent, no trailing zeros."""
    if abs(number) >= 1e15:
        return f"{number:.6g}"  # only in errors, where hundreds of digits do not help
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


def read_floats(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(read_float(name, part) for part in re.split(r"[,\s]+", text.strip().strip("()[]")) if part)
    except ThoraxError:
        raise ThoraxError(f"{name}={text!r} is not a comma list of numbers") from None


_READERS: dict[str, Callable[[str, str], Any]] = {
    "bool": read_bool,
    "int": read_int,
    "float": read_float,
    "str": lambda name, text: text,
    "tuple[str, ...]": lambda name, text: read_names(text),
    "tuple[int, ...]": read_ints,
    "tuple[float, ...]": read_floats,
}


def kind(field: dataclasses.Field[Any]) -> str:
    """The field's type without "| None": bool, int, float, str, or a tuple of str, int or float."""
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
    """Raises ThoraxError where `value` is outside the field's range or choices, with the nearest choice."""
    a = about(field)
    for item in value if isinstance(value, tuple) else (value,):
        if a.choices:
            _check_choice(a, name, item)
            continue
        below = a.low is not None and (item <= a.low if a.open_low else item < a.low)
        if below or (a.high is not None and item > a.high):
            raise ThoraxError(f"{name}={plain(item)} is out of range: it must be {range_text(a)}")


def _check_choice(a: FieldSpec, name: str, text: str) -> None:
    known = (*a.choices, *(entry for entry in registered(a.registry) if entry not in a.choices))
    if text not in known and text not in a.choices:  # a registry knows more names than it lists
        if len(known) == 1:
            raise ThoraxError(f"{name}={text} is not offered, only {known[0]}")
        nearest = difflib.get_close_matches(str(text), known, n=3 if len(known) > _MANY else 1, cutoff=0.5)
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        offered = f"{len(known)} that are known" if len(known) > _MANY else ", ".join(known)
        raise ThoraxError(f"{name}={text} is not one of {'the ' if len(known) > _MANY else ''}{offered}{hint}")
