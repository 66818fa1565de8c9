"""Hyperparameters as texts that reach the trainer unharmed, whatever starts it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from thorax.config.parse import canonical, spellings, unknown
from thorax.errors import ThoraxError

#: What a value may hold: a container's toolkit (5.1.1) hands values to a shell, the SDK's drivers to `export`.
SAFE = "A-Za-z0-9._,:/=+-"


def overridden(hyperparameters: Mapping[str, str], overrides: Mapping[str, str]) -> dict[str, str]:
    """`hyperparameters` with `overrides` put over them, also over another spelling of a name (num_layers: network).

    An empty override takes the value away: the hyperparameter has its default.
    """
    replaced = {meaning(key) for key in overrides}
    kept = {key: value for key, value in hyperparameters.items() if meaning(key) not in replaced}
    return kept | {key: value for key, value in overrides.items() if value}


def meaning(key: str) -> str:
    """The hyperparameter that a spelling means: learning_rate for lr; the name itself where it is unknown."""
    name = canonical(key)
    return spellings()[name][0].name if name in spellings() else name


def checked(pairs: Iterable[tuple[str, str]], origin: str, empty: bool = False) -> dict[str, str]:
    """Hyperparameters as a mapping, names with "_" for "-".

    Args:
        empty: an empty value is allowed; it takes a recipe's value away.

    Raises:
        ThoraxError: a name twice, an empty value where that is not allowed, an unknown name with one, or a character
            that a container's start-up would not carry unharmed.
    """
    found: dict[str, str] = {}
    for key, value in pairs:
        name = key.replace("-", "_")
        if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
            raise ThoraxError(f"{origin}: {key!r} is not a hyperparameter's name; letters, digits and _ only")
        if name in found:
            raise ThoraxError(f"{origin}: {name} is given twice, {found[name]} and {value}; give it once")
        if bad := sorted(set(re.sub(f"[{SAFE}]", "", value))):
            shown = " ".join("space" if c == " " else c if c.isprintable() else repr(c) for c in bad)
            raise ThoraxError(
                f"{origin}: the value of {name} holds {shown}; only {SAFE} pass a container's start-up unharmed"
            )
        if not value and empty and name not in spellings():
            raise ThoraxError(unknown(name))
        if not value and not empty:
            raise ThoraxError(f"{origin}: {name} has no value; leave it out to have its default")
        found[name] = value
    return found


def from_settings(settings: Iterable[str]) -> dict[str, str]:
    """The `key=value` texts of --set as a mapping; `key=` alone takes a recipe's value away.

    Raises:
        ThoraxError: a text without "=", or see checked.
    """
    pairs = []
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise ThoraxError(f"--set {setting} must be key=value, such as --set epochs=10")
        pairs.append((key, value))
    return checked(pairs, "--set", empty=True)


def changes(hyperparameters: Mapping[str, object]) -> dict[str, str]:
    """What a person puts over a recipe, as texts; None and "" take the recipe's value away.

    Raises:
        ThoraxError: see checked and text.
    """
    pairs = [(name, "" if value is None else text(name, value)) for name, value in hyperparameters.items()]
    return checked(pairs, "hyperparameters", empty=True)


def text(name: str, value: object) -> str:
    """A YAML value as train_model.py takes it: true, 0.00003, a,b.

    Raises:
        ThoraxError: null or a mapping.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f") if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, list):
        return ",".join(text(name, one) for one in value)
    if value is None or isinstance(value, dict):
        raise ThoraxError(
            f"hyperparameter {name} must be a text, a number, true, false or a list, not"
            f" {'empty' if value is None else 'a mapping'}"
        )
    return str(value)
