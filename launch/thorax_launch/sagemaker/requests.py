"""Request: one call that makes something on AWS; printed, checked against AWS's own model, sent through the SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from thorax.errors import ThoraxError

if TYPE_CHECKING:
    import boto3


@dataclass(frozen=True)
class AwsRequest:
    """What AWS gets.

    Attributes:
        resource: class in sagemaker.core.resources, such as TrainingJob.
        arguments: of its `create`: texts, numbers and shapes out of sagemaker.core.shapes; None is left out.
        by_boto3: the arguments have AWS's own names and go out by boto3, where the SDK misspells a field.
    """

    resource: str
    arguments: Mapping[str, Any]
    by_boto3: bool = False

    @property
    def operation(self) -> str:
        """AWS's name of the call."""
        return f"Create{self.resource}"

    def as_dict(self) -> dict[str, Any]:
        """The parameters of the call, as AWS names them."""
        from sagemaker.core.utils.utils import serialize

        if self.by_boto3:
            return dict(self.arguments)
        names = {member.lower(): member for member in _model().operation_model(self.operation).input_shape.members}
        return {
            names[name.replace("_", "")]: serialize(value)
            for name, value in self.arguments.items()
            if value is not None
        }

    def text(self) -> str:
        """The parameters as JSON."""
        return json.dumps(self.as_dict(), indent=2)

    def check(self) -> None:
        """Holds the request against AWS's model: names, types, lengths, ranges, patterns, choices.

        Raises:
            ThoraxError: AWS would refuse it; tells the field.
        """
        parameters = self.as_dict()
        if wrong := list(_wrong(_model().operation_model(self.operation).input_shape, parameters, "")):
            raise ThoraxError(wrong[0])

    def send(self, session: boto3.Session) -> None:
        """Makes it. Errors are botocore's; that it could not be described once it was made is none."""
        from botocore import xform_name
        from botocore.exceptions import ClientError
        from sagemaker.core import resources

        if self.by_boto3:
            getattr(session.client("sagemaker"), xform_name(self.operation))(**self.arguments)
            return
        given = {name: value for name, value in self.arguments.items() if value is not None}
        if "tags" in given:  # some of the SDK's `create` take another class named Tag
            given["tags"] = [{"key": tag.key, "value": tag.value} for tag in given["tags"]]
        try:
            getattr(resources, self.resource).create(session=session, region=session.region_name, **given)
        except ClientError as error:
            if error.operation_name == self.operation:
                raise


@cache
def _model() -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model("sagemaker")


def _wrong(shape: Any, value: Any, where: str) -> Any:
    """Every way in which a value breaks its shape, as one line each."""
    kinds: dict[str, Any] = {
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
    kind = kinds[shape.type_name]
    if (not isinstance(value, kind) and not (kind is float and isinstance(value, int))) or (
        kind is int and isinstance(value, bool)
    ):
        yield f"{where}={_short(value)} must be {shape.type_name}"
        return
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    size = len(value) if isinstance(value, str | list | dict) else value
    if not isinstance(value, bool) and ((low is not None and size < low) or (high is not None and size > high)):
        of = " characters" if isinstance(value, str) else " items" if isinstance(value, list | dict) else ""
        yield (
            f"{where}={_short(value)} has {size}{of}; AWS takes {low or 0} to {high}{of}"
            if of
            else f"{where}={value} is not {low} to {high}"
        )
    if shape.type_name == "structure":
        yield from (f"{where}.{name} is missing".lstrip(".") for name in shape.required_members if name not in value)
        for name, one in value.items():
            place = f"{where}.{name}".lstrip(".")
            if name not in shape.members:
                yield f"{place} is unknown to AWS"
            else:
                yield from _wrong(shape.members[name], one, place)
    elif shape.type_name == "list":
        for i, one in enumerate(value):
            yield from _wrong(shape.member, one, f"{where}[{i}]")
    elif shape.type_name == "map":
        for key, one in value.items():
            yield from _wrong(shape.key, key, f"a name in {where}")
            yield from _wrong(shape.value, one, f"{where}.{key}")
    elif shape.type_name == "string":
        if shape.enum and value not in shape.enum:
            yield (
                f"{where}={_short(value)} is not one of AWS's {len(shape.enum)} choices, such as"
                f" {', '.join(shape.enum[:4])}"
            )
        if (pattern := shape.metadata.get("pattern")) and not re.fullmatch(_python(pattern), value):
            yield f"{where}={_short(value)} has a character or form that AWS does not take; it must match {pattern}"


#: Unicode classes in AWS's patterns -> what Python's re has for them inside brackets.
_CLASSES = {
    r"\p{L}": r"\w",
    r"\p{M}": r"\w",
    r"\p{N}": r"\d",
    r"\p{Z}": " ",
    r"\p{P}": r"!-/:-@\[-`{-~",
    r"\p{S}": r"!-/:-@\[-`{-~",
}


def _python(pattern: str) -> str:
    """AWS's pattern for Python's re.

    One with a class that is not in the table, or that is no pattern, takes everything.
    """
    for theirs, ours in _CLASSES.items():
        pattern = pattern.replace(theirs, ours)
    try:
        re.compile(pattern)
    except re.error:
        return r"[\s\S]*"
    return pattern


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 60 else f"{told[:57]}..."
