"""AWS's own model of its calls: what a call's parameters must look like, and what is wrong with given ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

KINDS: dict[str, Any] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
    "float": float,
    "double": float,
}
#: Unicode classes in AWS's patterns -> what Python's re has for them inside brackets.
_CLASSES = {
    r"\p{L}": r"\w",
    r"\p{M}": r"\w",
    r"\p{N}": r"\d",
    r"\p{Z}": " ",
    r"\p{P}": r"!-/:-@\[-`{-~",
    r"\p{S}": r"!-/:-@\[-`{-~",
}


@cache
def _sagemaker() -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model("sagemaker")


def input_shape(operation: str) -> Any:
    """botocore's shape of the parameters of a SageMaker call such as CreateTrainingJob."""
    return _sagemaker().operation_model(operation).input_shape


def problems(shape: Any, value: Any, where: str = "") -> Iterator[str]:
    """Every way in which a value breaks its shape, a line each: names, types, lengths, ranges, patterns, choices."""
    kind = KINDS[shape.type_name]
    if (not isinstance(value, kind) and not (kind is float and isinstance(value, int))) or (
        kind is int and isinstance(value, bool)
    ):
        yield f"{where}={_short(value)} must be {shape.type_name}"
        return
    yield from _size_problems(shape, value, where)
    if shape.type_name == "structure":
        yield from (f"{where}.{name} is missing".lstrip(".") for name in shape.required_members if name not in value)
        for name, member in value.items():
            place = f"{where}.{name}".lstrip(".")
            if name not in shape.members:
                yield f"{place} is unknown to AWS"
            else:
                yield from problems(shape.members[name], member, place)
    elif shape.type_name == "list":
        for i, member in enumerate(value):
            yield from problems(shape.member, member, f"{where}[{i}]")
    elif shape.type_name == "map":
        for key, member in value.items():
            yield from problems(shape.key, key, f"a name in {where}")
            yield from problems(shape.value, member, f"{where}.{key}")
    elif shape.type_name == "string":
        if shape.enum and value not in shape.enum:
            yield (
                f"{where}={_short(value)} is not one of AWS's {len(shape.enum)} choices, such as"
                f" {', '.join(shape.enum[:4])}"
            )
        if (pattern := shape.metadata.get("pattern")) and not re.fullmatch(_python(pattern), value):
            yield f"{where}={_short(value)} has a character or form that AWS does not take; it must match {pattern}"


def _size_problems(shape: Any, value: Any, where: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    size = len(value) if isinstance(value, str | list | dict) else value
    if isinstance(value, bool) or not ((low is not None and size < low) or (high is not None and size > high)):
        return
    if isinstance(value, str | list | dict):
        unit = "characters" if isinstance(value, str) else "items"
        yield f"{where}={_short(value)} has {size} {unit}; AWS takes {low or 0} to {high} {unit}"
    else:
        yield f"{where}={value} is not {low} to {high}"


def _python(pattern: str) -> str:
    """AWS's pattern for Python's re; one that Python does not take becomes a pattern that takes everything."""
    for unicode_class, characters in _CLASSES.items():
        pattern = pattern.replace(unicode_class, characters)
    try:
        re.compile(pattern)
    except re.error:
        return r"[\s\S]*"
    return pattern


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
