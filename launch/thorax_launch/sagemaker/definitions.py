"""A definition held against AWS's model of each step's call, and its references against what comes before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.requests import check_parameters
from thorax_launch.sagemaker.schema import input_shape

#: Step type -> the call that it stands for.
OPERATIONS = {
    "Processing": "CreateProcessingJob",
    "Training": "CreateTrainingJob",
    "RegisterModel": "CreateModelPackage",
}
#: Names that the pipeline service gives itself.
OWN_NAMES = {"ProcessingJobName": "x", "TrainingJobName": "x"}


def check_definition(definition: dict[str, Any]) -> None:
    """Holds every step's arguments against AWS's model of the call that it stands for, and every reference against what
    comes before it.

    Raises:
        ThoraxError: the first that is wrong.
    """
    known = {f"Parameters.{parameter['Name']}": parameter["DefaultValue"] for parameter in definition["Parameters"]}
    _check_steps(definition["Steps"], known, [])


def _check_steps(steps: list[dict[str, Any]], known: Mapping[str, Any], before: list[str]) -> None:
    for step in steps:
        name, arguments = step["Name"], step["Arguments"]
        if name in before or not re.fullmatch(r"[A-Za-z0-9\-_]{1,64}", name):
            raise ThoraxError(
                f"pipeline step {name}: the name is there twice or has a character that AWS does not take"
            )
        inside = {key: value for key, value in arguments.items() if key not in ("IfSteps", "ElseSteps")}
        earlier = ("Execution.", *(f"Steps.{other}." for other in before))
        for place in [*_references(inside), *(f"Steps.{other}." for other in step.get("DependsOn", []))]:
            if place not in known and not place.startswith(earlier):
                raise ThoraxError(f"pipeline step {name}: {place} names no parameter or earlier step")
        before.append(name)
        if step["Type"] == "Condition":
            _check_steps([*arguments["IfSteps"], *arguments["ElseSteps"]], known, before)
        elif step["Type"] != "Fail":
            operation = OPERATIONS[step["Type"]]
            own = {key: value for key, value in OWN_NAMES.items() if key in input_shape(operation).members}
            check_parameters(operation, {**_filled(arguments, known), **own}, f"pipeline step {name}: ")


def _references(value: Any) -> Iterator[str]:
    """What every {"Get": ...} in a value names."""
    if isinstance(value, dict) and set(value) == {"Get"}:
        yield value["Get"]
    elif isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _references(member)


def _filled(value: Any, known: Mapping[str, Any]) -> Any:
    """With a text such as the run would put there in place of every reference: of a parameter its default."""
    if isinstance(value, dict):
        reference = set(value) in ({"Get"}, {"Std:JsonGet"}, {"Std:Join"})
        if reference:
            return known.get(value.get("Get", ""), "s3://x/y")
        return {key: _filled(member, known) for key, member in value.items()}
    return [_filled(member, known) for member in value] if isinstance(value, list) else value
