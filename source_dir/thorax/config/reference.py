"""The table of all hyperparameters, for the documentation and for --help."""

from __future__ import annotations

import dataclasses
from typing import Any

from thorax.config.fields import about, kind, plain, range_text
from thorax.config.schema import GROUPS

_KINDS = {
    "tuple[int, ...]": "integers",
    "tuple[float, ...]": "numbers",
    "tuple[str, ...]": "names",
    "bool": "boolean",
    "int": "integer",
    "float": "number",
    "str": "text",
}


def rows() -> list[tuple[str, str, str, str, str, str]]:
    """(group, name, other spellings, type, default and range, meaning), group by group."""
    table = []
    for group, fields in GROUPS.items():
        for field in dataclasses.fields(fields):
            a = about(field)
            others = ", ".join(f"`{s.name}` ({s.origin})" for s in a.spellings)
            meaning = a.help + (f" [{allowed}]" if (allowed := range_text(a)) else "")
            table.append((group, field.name, others, _KINDS[kind(field)], shown(field.default), meaning))
    return table


def shown(value: Any) -> str:
    """A value as the reference page and the table of differences show it."""
    if value is None or value == ():
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return plain(value) if isinstance(value, int | float) else str(value)


def markdown() -> str:
    """The table as Markdown, one section a group."""
    lines: list[str] = []
    group = ""
    for section, name, others, type_, default, meaning in rows():
        if section != group:
            group = section
            lines += [
                "",
                f"### {group}",
                "",
                "| name | other spellings | type | default | meaning |",
                "|---|---|---|---|---|",
            ]
        lines.append(f"| `{name}` | {others} | {type_} | {default} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines).lstrip("\n") + "\n"


def help_text() -> str:
    """The table as plain text for --help."""
    lines: list[str] = []
    group = ""
    for section, name, others, type_, default, meaning in rows():
        if section != group:
            group = section
            lines += ["", f"{group}:"]
        also = f" (also {others.replace('`', '')})" if others else ""
        lines.append(f"  --{name} {type_.upper()}  default {default}{also}\n        {meaning}")
    return "\n".join(lines)
