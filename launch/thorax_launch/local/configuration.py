"""The resolved configuration of a run for the terminal: what differs from the defaults."""

from __future__ import annotations

import json
from pathlib import Path

from thorax.config import TrainingConfig
from thorax_launch.paths import relative

PREFIX = "configuration: "


def readable(line: str, log: Path) -> str:
    """A line of the trainer's log as the terminal shows it: the configuration as a table, any other as it is.

    Args:
        line: such as `configuration: {"epochs": 16, ...}`.
        log: the file that holds the whole line.
    """
    try:
        resolved = json.loads(line.removeprefix(PREFIX)) if line.startswith(PREFIX) else None
    except ValueError:
        return line
    if not isinstance(resolved, dict):
        return line
    defaults = TrainingConfig().to_dict()
    rows = [
        (name, _text(value), f"default {_text(defaults.get(name))}")
        for name, value in resolved.items()
        if value != defaults.get(name)
    ]
    widths = [max((len(row[k]) for row in rows), default=0) for k in (0, 1)]
    table = [f"  {name:{widths[0]}}  {value:{widths[1]}}  {default}" for name, value, default in rows]
    head = f"configuration: {len(rows)} of {len(resolved)} values differ from the defaults; all are in {relative(log)}"
    return "\n".join([head, *table])


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value)) or "none"
    return "none" if value in ("", None) else str(value).lower() if isinstance(value, bool) else str(value)
