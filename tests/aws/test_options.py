"""Each option of a machine is a flag, a key of a recipe and a field of the request, from its one entry."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from thorax_launch import options
from thorax_launch.cli import train, tune
from thorax_launch.options import MachineOptions, declared, entries, request_fields
from thorax_launch.recipe import Recipe

#: Kind -> a value of it, which is sent as it is.
OF_KIND = {int: 3, float: 1.5, bool: True, str: "ml.g5.xlarge"}
#: Option -> a value, and what the request has for it, where that is not the value of its kind.
CONVERTED: dict[str, tuple[Any, Any]] = {
    "max_hours": (1.5, 5400),
    "max_wait_hours": (60, 216000),
    "warm_pool_minutes": (10, 600),
    "input_mode": ("FastFile", "FastFile"),
}


def at(request: dict[str, Any], path: str) -> Any:
    found: Any = request
    for name in path.split("."):
        found = found[name]
    return found


@pytest.mark.parametrize("entry", list(entries(MachineOptions)), ids=lambda entry: entry.name)
def test_flag_recipe_key_and_request_field(entry: options.Entry) -> None:
    value, sent = CONVERTED.get(entry.name) or (OF_KIND[entry.kind], OF_KIND[entry.kind])
    spot = {"spot": True} if entry.name == "max_wait_hours" else {}
    recipe = Recipe.of(Path("own.yaml"), {entry.name: value, **spot})
    assert at(request_fields(recipe), entry.option.field) == sent
    assert request_fields(Recipe("own").on(**{entry.name: value}, **spot)) == request_fields(recipe)
    for script in (train, tune):
        words = [entry.flag] if value is True else [entry.flag, str(value)]
        assert getattr(script.parser().parse_args(["demo", *words]), entry.name) == value
        assert getattr(script.parser().parse_args(["demo"]), entry.name) is None
        assert (entry.flag, entry.name, None) in script.parser().parse_args(["demo"]).aws_only


def test_a_new_option_is_one_entry() -> None:
    """A subclass with one more field: no other line of the launcher names it."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class More(MachineOptions):
        retries: int = declared(0, "N", "attempts", field="RetryStrategy.MaximumRetryAttempts")

    (new,) = [entry for entry in entries(More) if entry.name == "retries"]
    assert (new.flag, new.kind, new.problem(1.5)) == ("--retries", int, " is not a whole number")
    assert request_fields(More(retries=3))["RetryStrategy"] == {"MaximumRetryAttempts": 3}
