"""The JSON schema of a recipe file, for editors, made from the tables that the recipe itself is read by."""

from __future__ import annotations

import dataclasses
from typing import Any

from thorax.config.fields import about, kind
from thorax.config.schema import Fields
from thorax.models.registry import MODELS, TIMM
from thorax_launch.options import MachineOptions, entries
from thorax_launch.ranges import STRATEGIES
from thorax_launch.recipe import SYNTHETIC

#: 1 and 0 are read as true and false, too.
_SIMPLE: dict[str, Any] = {"bool": ["boolean", "integer"], "int": "integer", "float": "number"}
#: What stands in a recipe beside its machine.
TEXTS = {
    "summary": "what it trains, in a sentence",
    "command": "how to run it",
    "machine": "the machine that minutes and expected were measured on",
}


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12."""
    machine = {
        entry.name: _typed(entry.kind.__name__, entry.option.help, entry.default, entry.option.choices)
        for entry in entries(MachineOptions)
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Thorax recipe",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "description": "what its jobs are called; default: the file's name"},
            **{key: {"type": "string", "description": text} for key, text in TEXTS.items()},
            "minutes": {"type": "number", "minimum": 0, "description": "how long it takes on that machine"},
            "expected": {"type": "object", "description": "metric -> its value there"},
            "synthetic": {"enum": [*SYNTHETIC], "description": "images to draw where no --train is given"},
            "hyperparameters": {
                "type": "object",
                "additionalProperties": False,
                "properties": hyperparameters(),
                "description": "as train_model.py takes them; docs/hyperparameters.md has all",
            },
            "tune": _tune(),
            **machine,
        },
    }


def hyperparameters() -> dict[str, Any]:
    """Every known spelling -> its schema."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(Fields):
        a = about(field)
        found[field.name] = _typed(kind(field), a.help, field.default, a.choices or ())
        for spelling in a.spellings:
            found[spelling.name] = {"description": f"{field.name}: {a.help}"}
    return found


def _typed(kind: str, text: str, default: Any, choices: Any) -> dict[str, Any]:
    described: dict[str, Any] = {"description": text} if text else {}
    plain = default if isinstance(default, bool | int | float | str) else None
    described |= {"default": plain} if plain not in (None, "") else {}
    if choices is MODELS:
        return {"anyOf": [{"enum": [*MODELS]}, {"type": "string", "pattern": f"^{TIMM}."}], **described}
    if choices:
        booleans = [True, False] if {"true", "false"} <= {*choices} else []  # YAML's true and false, without quotes
        return {"enum": [*choices, *booleans], **described}
    if kind in _SIMPLE:
        return {"type": _SIMPLE[kind], **described}
    # lists are written 1,224,224 or as YAML lists; a text may look like a number
    return {"type": ["string", "number", "boolean", "array"], **described}


def _tune() -> dict[str, Any]:
    number = {"type": "number"}
    one = {
        "type": "object",
        "properties": {
            "min": number,
            "max": number,
            "scale": {"enum": ["auto", "linear", "log", "reverse_log"]},
            "choices": {"type": "array", "minItems": 1},
        },
    }
    return {
        "type": "object",
        "required": ["ranges"],
        "additionalProperties": False,
        "description": "what `thorax tune` searches",
        "properties": {
            "ranges": {"type": "object", "minProperties": 1, "additionalProperties": one},
            "strategy": {"enum": [*STRATEGIES]},
            "max_jobs": {"type": "integer", "minimum": 1},
            "parallel_jobs": {"type": "integer", "minimum": 1},
            "early_stopping": {"type": "boolean"},
            "seed": {"type": "integer", "minimum": 0},
        },
    }
