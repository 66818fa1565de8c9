"""From texts in any known spelling to the values of the fields."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from thorax.config.fields import about, read
from thorax.config.schema import Fields
from thorax.errors import ThoraxError
from thorax.job import PATHS

#: Keys that the platform adds to a job's hyperparameters; they are passed over.
PLATFORM = re.compile(r"^(sagemaker_\w+|_tuning_objective_metric)$")


@cache
def spellings() -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    """Every known name -> (field, translation of its text or None)."""
    names: dict[str, tuple[dataclasses.Field[Any], Any]] = {}
    for field in dataclasses.fields(Fields):
        names[field.name] = (field, None)
        for spelling in about(field).spellings:
            names[spelling.name] = (field, spelling.translate)
    return names


def offered(name: str) -> tuple[str, ...]:
    """The choices of a hyperparameter."""
    return tuple(about(spellings()[name][0]).choices)


def canonical(name: str) -> str:
    """The key as our tables have it: no leading dashes, "_" for "-"."""
    return name.lstrip("-").replace("-", "_")


def parse(texts: Mapping[str, str]) -> dict[str, Any]:
    """Field values for those hyperparameters that the texts name.

    Raises:
        ThoraxError: see TrainingConfig.parse.
    """
    given: dict[str, tuple[str, str, Any]] = {}  # field name -> (spelling, text, value)
    for key, text in texts.items():
        name = canonical(key)
        if PLATFORM.match(name):
            continue
        if name not in spellings():
            raise ThoraxError(unknown(name))
        if text in ("", "null"):
            continue
        field, translate = spellings()[name]
        value = _read(field, name, text, translate)
        if field.name in given and given[field.name][2] != value:
            other, other_text, _ = given[field.name]
            raise ThoraxError(
                f"{other}={other_text} and {name}={text} are two spellings of {field.name} with two values; give one of"
                " them"
            )
        given[field.name] = (name, text, value)
    return {name: value for name, (_, _, value) in given.items()}


def _read(field: dataclasses.Field[Any], name: str, text: str, translate: Any) -> Any:
    if translate is None:
        return read(field, name, text)
    try:
        return read(field, name, translate(text))
    except ThoraxError as error:
        raise ThoraxError(
            f"{name}={text}: {error}" if not str(error).startswith(f"{name}={text!r}") else str(error)
        ) from None


def text_of(value: Any) -> str:
    """A Python value as the text that means it: true, 0.00003, a,b; empty for None."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value):
        return f"{Decimal(repr(value)):f}"
    if isinstance(value, list | tuple):
        return ",".join(map(text_of, value))
    return "" if value is None else str(value)


def unknown(name: str) -> str:
    """The message for an unknown name, with the nearest known ones; they may be paths'."""
    nearest = _nearest(name, [*spellings(), *PATHS, *(other for names in PATHS.values() for other in names)])
    hint = (
        f"; did you mean {' or '.join(nearest)}?"
        if nearest
        else "; see `python source_dir/train_model.py --help` for the list"
    )
    return f"unknown hyperparameter {name}{hint}"


def _nearest(name: str, known: list[str]) -> list[str]:
    """The known name that is meant; several where fields differ in what stands before `_name`, as before _patience."""
    inside = sorted((k for k in known if len(name) > 3 and name in k), key=len)
    ends = [k for k in sorted(inside) if k.endswith(f"_{name}")]
    fields = {spellings()[k][0].name: k for k in reversed(ends) if k in spellings()}
    if len(fields) > 1:
        return [k for k in ends if k in fields.values()]
    return inside[:1] or difflib.get_close_matches(name, known, n=1)
