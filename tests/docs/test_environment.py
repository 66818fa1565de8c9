"""environment.yml installs what pyproject.toml says: the same packages and bounds (by -e .[dev]), the same Python."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: conda's own packages beside Python: what the Makefile asks of a machine. Everything of Python's comes from pyproject.
TOOLS = {"pip", "c-compiler", "git", "make"}


def conda_packages() -> dict[str, str]:
    """Name -> what stands behind it."""
    found = [one for one in ENVIRONMENT["dependencies"] if isinstance(one, str)]
    return dict(re.fullmatch(r"([a-z0-9-]+)(.*)", one).groups() for one in found)


def test_it_has_a_name_and_one_channel() -> None:
    assert set(ENVIRONMENT) == {"name", "channels", "dependencies"}
    assert (ENVIRONMENT["name"], ENVIRONMENT["channels"]) == ("thorax", ["conda-forge"])


def test_its_python_is_one_that_the_project_takes() -> None:
    packages = conda_packages()
    assert set(packages) == {"python", *TOOLS}
    version = packages["python"].removeprefix("=")
    assert version in SpecifierSet(PROJECT["requires-python"])
    workflow = "".join(file.read_text(encoding="utf-8") for file in (ROOT / ".github/workflows").glob("*.y*ml"))
    assert re.search(rf"python-version:.*\b{re.escape(version)}\b", workflow)


def test_its_packages_and_their_bounds_are_those_of_the_project() -> None:
    """No package is pinned twice: pip installs this project, with the extra of everything."""
    (by_pip,) = [one["pip"] for one in ENVIRONMENT["dependencies"] if isinstance(one, dict)]
    (wanted,) = by_pip
    extras = re.fullmatch(r"-e \.\[([a-z,]+)\]", wanted)
    assert extras is not None
    named = extras[1].split(",")
    assert set(named) <= set(PROJECT["optional-dependencies"])
    assert reached(named) >= set(PROJECT["optional-dependencies"]) - {"bench", "timm"}


def reached(extras: list[str]) -> set[str]:
    """These extras, and those that they take along."""
    found, todo = set(), list(extras)
    while todo:
        extra = todo.pop()
        if extra not in found:
            found.add(extra)
            for text in PROJECT["optional-dependencies"][extra]:
                requirement = Requirement(text)
                if requirement.name == PROJECT["name"]:
                    todo += requirement.extras
    return found
