"""How images are to be read, as said by a bundle's stored configuration and by NAME=VALUE on a command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from thorax.config import TrainingConfig
from thorax.config.parse import canonical, parse
from thorax.data.formats.channel import ReadOptions
from thorax.data.formats.table_options import TableOptions
from thorax.errors import ThoraxError

#: Hyperparameters of a table's columns, rows and cells.
TABLE_NAMES = tuple(field.name for field in fields(TableOptions))
#: All hyperparameters that say how the images of a channel are read, but its format.
NAMES = ("labels", "num_classes", "label_format", "attribute_names", "count_crowds", *TABLE_NAMES)


def read_options(settings: Iterable[str] = (), stored: Mapping[str, Any] | None = None) -> ReadOptions:
    """The options that NAME=VALUE texts say, and where they are silent a stored configuration; else the defaults.

    Args:
        settings: such as ("where=Frontal/Lateral=Frontal", "patient_column=Person"); "where=" has the default.
        stored: see TrainingConfig.stored.

    Raises:
        ThoraxError: no "=", another hyperparameter than NAMES, or a value that is none of its.
    """
    known = {name: _frozen(value) for name, value in (stored or {}).items() if name in NAMES}
    return ReadOptions.of(TrainingConfig(**known | _given(settings)))


def not_default(stored: Mapping[str, Any], names: Sequence[str] = TABLE_NAMES) -> dict[str, Any]:
    """Those of these hyperparameters that a stored configuration has with another value than the default."""
    default = TrainingConfig()
    values = {name: _frozen(stored[name]) for name in names if name in stored}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


def _given(settings: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting in settings:
        word, sign, value = setting.partition("=")
        name = canonical(word)
        if not sign:
            raise ThoraxError(f"--set {setting} must be NAME=VALUE, such as --set where=Projection=PA")
        if name not in NAMES:
            raise ThoraxError(
                f"--set {setting}: {name} does not say how images are read; those that do are {', '.join(NAMES)}"
            )
        if name in found:
            raise ThoraxError(f"--set {name} is given twice; give it once")
        found[name] = parse({name: value})[name] if value else getattr(TrainingConfig(), name)
    return found


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
