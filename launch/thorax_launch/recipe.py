"""A recipe: what to train, on which machine, how long it takes and what comes out."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError, deprecated
from thorax.yaml_reading import read_yaml
from thorax_launch.hyperparameters import changes, checked, meaning, overridden, text
from thorax_launch.options import Entry, MachineOptions, Option, entries, is_number
from thorax_launch.paths import RECIPES
from thorax_launch.ranges import Tune

SYNTHETIC = ("folders", "table", "records", "scenes")


@dataclass(frozen=True)
class Recipe(MachineOptions):
    """One YAML file of launch/recipes, or one of yours: what follows, and a key for each of MachineOptions.

    Attributes:
        name: what its jobs are called.
        summary: one sentence.
        command: how to run it.
        machine: the machine that `minutes` and `expected` were measured on.
        minutes: how long it takes there.
        expected: metric -> its value there, as text.
        synthetic: synthetic images to train on where no --train is given: one of SYNTHETIC.
        hyperparameters: name -> text, as train_model.py takes them.
        tune: what launch/tune.py searches.
    """

    name: str
    summary: str = ""
    command: str = ""
    machine: str = ""
    minutes: float = 0.0
    expected: Mapping[str, str] = field(default_factory=dict)
    synthetic: str | None = None
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    tune: Tune | None = None

    @classmethod
    def load(cls, name: str) -> Recipe:
        """The recipe of that name, with or without .yaml, or in the YAML file at that path.

        Raises:
            ThoraxError: there is none (the message lists the known ones), or the file is not a recipe.
        """
        path = find(name)
        try:
            stored = read_yaml(path.read_text(encoding="utf-8"), _Loader)
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
        for old in {"films", "images"} & set(stored) if "synthetic" not in stored else ():
            deprecated(f"{old}: in recipe {path}", "synthetic:")
            stored = {"synthetic" if key == old else key: value for key, value in stored.items()}
        for key in stored:
            if key not in known:
                raise ThoraxError(f"recipe {path} has an unknown key {key}{_hint(str(key), known)}")
        values: dict[str, Any] = {"name": path.stem} | {k: v for k, v in stored.items() if v is not None}
        for key in ("expected", "hyperparameters"):
            if not isinstance(values.setdefault(key, {}), dict):
                raise ThoraxError(f"recipe {path}: {key} must be a mapping of names to values")
        for entry in (Entry("minutes", 0.0, Option()), *entries(MachineOptions)):
            value = values.get(entry.name, entry.default)
            if entry.kind is str and not entry.option.choices:
                values[entry.name] = str(value)
            elif problem := entry.problem(value):
                raise ThoraxError(f"recipe {path}: {entry.name}={value}{problem}")
        if values.get("synthetic") not in (None, *SYNTHETIC):
            raise ThoraxError(f"recipe {path}: synthetic={values['synthetic']} is not one of {', '.join(SYNTHETIC)}")
        values["expected"] = {str(k): str(v) for k, v in values["expected"].items()}
        pairs = [(str(k), text(str(k), v)) for k, v in values["hyperparameters"].items()]
        values["hyperparameters"] = checked(pairs, f"recipe {path}")
        for key in {"name", "summary", "command", "machine"} & set(values):
            values[key] = str(values[key])
        if "tune" in values:
            values["tune"] = Tune.of(values["tune"], f"recipe {path}", values["hyperparameters"])
        return cls(**values)

    def on(self, **machine: Any) -> Recipe:
        """This recipe on another machine: MachineOptions by name, None for the recipe's own.

        Raises:
            ThoraxError: a number that is not above 0, or a value that the option does not take.
        """
        given = {name: value for name, value in machine.items() if value is not None}
        for entry in entries(MachineOptions):
            if (value := given.get(entry.name)) is None:
                continue
            if entry.kind in (int, float) and is_number(value, whole=False) and value <= 0:
                raise ThoraxError(f"{entry.flag} {value} must be above 0")
            if problem := entry.problem(value):
                raise ThoraxError(f"{entry.flag} {value}{problem}")
        return dataclasses.replace(self, **given)

    def merged(self, hyperparameters: Mapping[str, object]) -> dict[str, str]:
        """This recipe's hyperparameters, those of the user put over them, all of them checked.

        A value also replaces the recipe's under another spelling of the same name (num_layers for network); an empty
        text or None takes it away.

        Raises:
            ThoraxError: an unsafe text, or what TrainingConfig refuses.
        """
        given = changes(hyperparameters)
        merged = overridden(self.hyperparameters, given)
        TrainingConfig.parse(merged)
        return merged

    def for_folds(
        self, folds: int, hyperparameters: Mapping[str, object], channels: Mapping[str, object]
    ) -> dict[str, str]:
        """The hyperparameters that all folds of a cross-validation share.

        Raises:
            ThoraxError: too few or many folds, a fold or a channel validation is named, or what TrainingConfig refuses.
        """
        if not 2 <= folds <= 100:
            raise ThoraxError(f"--folds {folds} must be 2 to 100")
        merged = self.merged(hyperparameters)
        if named := [name for name in ("folds", "fold") if name in merged]:
            raise ThoraxError(
                f"--set {named[0]}={merged[named[0]]} with --folds {folds}: --folds sets it; leave it out"
            )
        if "validation" in channels:
            raise ThoraxError(
                f"--validation with --folds {folds}: every image of train is validated once, so there is no other"
                " validation; add its images to train, or leave it out"
            )
        TrainingConfig.parse({**merged, "folds": str(folds), "fold": "0"})
        return merged

    def search(self, changes: Mapping[str, Any], hyperparameters: Mapping[str, object]) -> tuple[Tune, dict[str, str]]:
        """(what to search, with the user's changes; the hyperparameters that stay the same).

        Raises:
            ThoraxError: the recipe has no `tune:` part, a value is given for a hyperparameter that is searched, or see
                merged and Tune.checked.
        """
        if self.tune is None:
            raise ThoraxError(f"recipe {self.name} has no tune: part; docs/aws.md shows one")
        merged = self.merged(hyperparameters)
        ranged = {meaning(name): name for name in self.tune.ranges}
        for key, value in hyperparameters.items():
            if (name := meaning(key)) in ranged:
                raise ThoraxError(
                    f"--set {key}={value}: {ranged[name]} is searched by the recipe's tune: part; take it out there"
                )
        return self.tune.with_changes(**changes).checked(f"recipe {self.name}", merged), self.tune.static(merged)


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
    raise ThoraxError(
        f"unknown recipe {name}{_hint(name, names())}; the recipes are {', '.join(names())}, or give a path to a YAML"
        " file"
    )


def _hint(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]}?" if nearest else ""


class _Loader(yaml.SafeLoader):
    """YAML in which a key that is given twice is an error, not the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key} cannot be a key; a key is a name", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", key_node.start_mark)
            seen.add(key)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping
