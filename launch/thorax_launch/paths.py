"""Where the files are that belong to the two packages: recipes, entry scripts, and how a child process finds both."""

from __future__ import annotations

import os
from pathlib import Path

import thorax

PACKAGES = Path(__file__).resolve().parents[1]
LAUNCH = PACKAGES
SOURCE_DIR = Path(thorax.__file__).resolve().parents[1]
RECIPES = LAUNCH / "recipes"


def child_environment() -> dict[str, str]:
    """This process's environment, in which `python -m thorax_launch...` finds the same two packages."""
    path = [str(PACKAGES), str(SOURCE_DIR), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
