"""The resolved configuration of a run for the terminal: what differs from the recipe and from the defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from thorax.config import TrainingConfig
from thorax_launch.paths import relative

PREFIX = "configuration: "


def readable(line: str, log: Path, recipe: Mapping[str, str] | None = None) -> str:
    """A line of the trainer's log as the terminal shows it: the configuration as a table, any other as it is.

    Args:
        line: such as `configuration: {"epochs": 16, ...}`.
        log: the file that holds the whole line.
        recipe: its hyperparameters; a value that is not the recipe's is marked.
    """
    try:
        resolved = json.loads(line.removeprefix(PREFIX)) if line.startswith(PREFIX) else None
    except ValueError:
        return line
    if not isinstance(resolved, dict):
        return line
    defaults = TrainingConfig().to_dict()
    of_recipe = TrainingConfig.parse(dict(recipe)).to_dict() if recipe is not None else {}
    rows = []
    for name, value in resolved.items():
        changed = name in of_recipe and value != of_recipe[name]
        if changed or value != defaults.get(name):
            origin = f"recipe {_text(of_recipe[name])}, " if changed else ""
            rows.append((name, _text(value), f"{origin}default {_text(defaults.get(name))}"))
    widths = [max((len(row[k]) for row in rows), default=0) for k in (0, 1)]
    table = [f"  {name:{widths[0]}}  {value:{widths[1]}}  {other}" for name, value, other in rows]
    what = "recipe or defaults" if recipe else "the defaults"
    head = f"configuration: unlike {what} (all {len(resolved)}: {relative(log)})"
    return "\n".join([head, *table])


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value)) or "none"
    return "none" if value in ("", None) else str(value).lower() if isinstance(value, bool) else str(value)
