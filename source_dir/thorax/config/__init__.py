"""TrainingConfig: the hyperparameters of a run, read from any known spelling, checked and documented."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thorax.config.fields import about
from thorax.config.parse import parse, text_of
from thorax.config.schema import Fields
from thorax.config.validate import check_fields, check_rules, without_effect

__all__ = ["TrainingConfig", "config_differences"]


@dataclass(frozen=True)
class TrainingConfig(Fields):
    """The hyperparameters of one run: see thorax/config/schema.py for each field.

    Build it with `parse` (texts), `of` (values in any spelling) or by field names (values); all check everything.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        check_rules(self)

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> TrainingConfig:
        """The configuration that the texts mean; keys in any known spelling, with "-" or "_".

        Raises:
            ThoraxError: an unknown name (with the nearest known one), a wrong type or value, two spellings of
                one hyperparameter with two values, or values that do not go together.
        """
        return cls(**parse(texts))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """The configuration that Python values mean, such as {"lr": 0.001, "image_shape": (1, 96, 96)}.

        Raises:
            ThoraxError: as `parse`.
        """
        return cls.parse({name: text_of(value) for name, value in values.items()})

    @property
    def warnings(self) -> list[str]:
        """A line for each combination of which a part has no effect; nothing is refused for it."""
        return without_effect(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values by field name."""
        return {
            f.name: list(v) if isinstance(v := getattr(self, f.name), tuple) else v for f in dataclasses.fields(self)
        }

    def stored(self) -> dict[str, Any]:
        """As to_dict, in the words of bundle format 1 (a renamed choice under its first name).

        For bundles and checkpoints.
        """
        first = {f.name: {new: old for old, new in about(f).renamed.items()} for f in dataclasses.fields(self)}
        return {name: first[name].get(v, v) if isinstance(v, str) else v for name, v in self.to_dict().items()}

    def identity(self) -> dict[str, Any]:
        """Those stored values that another trained network follows from: two runs that share them are one run."""
        affects = {f.name for f in dataclasses.fields(self) if about(f).affects_result}
        return {name: value for name, value in self.stored().items() if name in affects}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TrainingConfig:
        """The inverse of to_dict and of stored."""
        now = {f.name: about(f).renamed for f in dataclasses.fields(cls)}
        values: dict[str, Any] = {
            k: now[k].get(v, v) if isinstance(v, str) and k in now else v for k, v in stored.items()
        }
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**values)


def config_differences(config: TrainingConfig) -> list[tuple[str, Any, Any]]:
    """(name, value, default) of every hyperparameter that is not at its default, in the order of the reference page."""
    values = ((f.name, getattr(config, f.name), f.default) for f in dataclasses.fields(config))
    return [(name, value, default) for name, value, default in values if value != default]
