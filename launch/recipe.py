"""A recipe: what to train, on which machine, how long it takes and what comes out."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from _path import RECIPES
from thorax.errors import ThoraxError

#: What a value may hold: a container's toolkit (5.1.1) hands values to a shell, the SDK's drivers to `export`.
SAFE = "A-Za-z0-9._,:/=+-"
FILMS = ("folders", "table", "records", "scenes")


@dataclass(frozen=True)
class Recipe:
    """One YAML file of launch/recipes, or one of yours.

    Attributes:
        name: what its jobs are called.
        summary: one sentence.
        command: how to run it.
        machine: the machine that `minutes` and `expected` were measured on.
        minutes: how long it takes there.
        expected: metric -> its value there, as text.
        films: synthetic films to train on where no --train is given: one of FILMS.
        hyperparameters: name -> text, as train_model.py takes them.
        instance_type: SageMaker's machine for it.
        instance_count: how many of them.
    """

    name: str
    summary: str = ""
    command: str = ""
    machine: str = ""
    minutes: float = 0.0
    expected: Mapping[str, str] = field(default_factory=dict)
    films: str | None = None
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    instance_type: str = "ml.m5.xlarge"
    instance_count: int = 1

    @classmethod
    def load(cls, name: str) -> Recipe:
        """The recipe of that name, with or without .yaml, or in the YAML file at that path.

        Raises:
            ThoraxError: there is none (the message lists the known ones), or the file is not a recipe.
        """
        path = find(name)
        try:
            stored = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        except yaml.YAMLError as error:
            raise ThoraxError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ThoraxError(f"recipe {path} cannot be read: {error}") from None
        if not isinstance(stored, dict):
            raise ThoraxError(f"recipe {path} must be a mapping such as `hyperparameters: {{epochs: 10}}`")
        return cls.of(path, stored)

    @classmethod
    def of(cls, path: Path, stored: dict[str, Any]) -> Recipe:
        """The recipe that the YAML mapping of `path` describes.

        Raises:
            ThoraxError: an unknown key, a value of the wrong type, or an unsafe hyperparameter.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for key in stored:
            if key not in known:
                raise ThoraxError(f"recipe {path} has an unknown key {key}{_hint(str(key), known)}")
        values: dict[str, Any] = {"name": path.stem} | {k: v for k, v in stored.items() if v is not None}
        for key in ("expected", "hyperparameters"):
            if not isinstance(values.setdefault(key, {}), dict):
                raise ThoraxError(f"recipe {path}: {key} must be a mapping of names to values")
        for key, kind in (("instance_count", int), ("minutes", int | float)):
            if isinstance(value := values.get(key, 1), bool) or not isinstance(value, kind) or value < 0:
                raise ThoraxError(f"recipe {path}: {key}={value} is not a number")
        if values.get("films") not in (None, *FILMS):
            raise ThoraxError(f"recipe {path}: films={values['films']} is not one of {', '.join(FILMS)}")
        values["expected"] = {str(k): str(v) for k, v in values["expected"].items()}
        pairs = [(str(k), text(str(k), v)) for k, v in values["hyperparameters"].items()]
        values["hyperparameters"] = checked(pairs, f"recipe {path}")
        for key in {"name", "summary", "command", "machine", "instance_type"} & set(values):
            values[key] = str(values[key])
        return cls(**values)

    def with_overrides(self, settings: Iterable[str]) -> dict[str, str]:
        """This recipe's hyperparameters, the user's `key=value` settings put over them, all of them checked.

        A setting also replaces the recipe's value under another spelling of the same name (num_layers for network).

        Raises:
            ThoraxError: a setting without "=", twice the same name, an unsafe text, or what TrainingConfig refuses.
        """
        from thorax.config import TrainingConfig
        from thorax.config.parse import canonical, spellings

        pairs = []
        for setting in settings:
            key, separator, value = setting.partition("=")
            if not separator:
                raise ThoraxError(f"--set {setting} must be key=value, such as --set epochs=10")
            pairs.append((key, value))
        overrides = checked(pairs, "--set")

        def meaning(key: str) -> str:
            name = canonical(key)
            return spellings()[name][0].name if name in spellings() else name

        replaced = {meaning(key) for key in overrides}
        merged = {k: v for k, v in self.hyperparameters.items() if meaning(k) not in replaced} | overrides
        TrainingConfig.parse(merged)
        return merged


def names() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def find(name: str) -> Path:
    """The file of a recipe, by its name or its path.

    Raises:
        ThoraxError: there is none.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    if path.name == name and (shipped := RECIPES / f"{name.removesuffix('.yaml')}.yaml").is_file():
        return shipped
    raise ThoraxError(f"unknown recipe {name}{_hint(name, names())}; the recipes are {', '.join(names())}, or give a path to a YAML file")


def checked(pairs: Iterable[tuple[str, str]], origin: str) -> dict[str, str]:
    """Hyperparameters as a mapping, names with "_" for "-".

    Raises:
        ThoraxError: a name twice, an empty value, or a character that a container's start-up would not carry unharmed.
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
            raise ThoraxError(f"{origin}: the value of {name} holds {shown}; only {SAFE} pass a container's start-up unharmed")
        if not value:
            raise ThoraxError(f"{origin}: {name} has no value; leave it out to have its default")
        found[name] = value
    return found


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
        raise ThoraxError(f"hyperparameter {name} must be a text, a number, true, false or a list, not {'empty' if value is None else 'a mapping'}")
    return str(value)


def _hint(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]}?" if nearest else ""


class _Loader(yaml.SafeLoader):
    """YAML in which a key that is given twice is an error, not the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", key_node.start_mark)
            seen.add(key)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping
