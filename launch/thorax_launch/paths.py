"""Where the files that belong to the two packages are: beside them in a checkout, inside them once they are installed.

setup.py puts thorax/_source and thorax_launch/_data into the wheel; a checkout has neither.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import thorax

_PACKAGE = Path(__file__).resolve().parent
LAUNCH = _PACKAGE.parent
_DATA = _PACKAGE / "_data"
RECIPES = (_DATA if _DATA.is_dir() else LAUNCH) / "recipes"
#: Exact versions and hashes of what jobs install; see thorax_launch/locks.py.
LOCKS = RECIPES.with_name("locks")
#: The price table that comes with the package: rounded, an example.
PRICES = RECIPES.with_name("prices.example.yaml")


@cache
def source_dir() -> Path:
    """The folder that runs in a container: train_model.py, inference.py, deployment.py, requirements.txt and thorax/.

    An installed package is assembled into a temporary folder, which is removed when this process ends.
    """
    package = Path(thorax.__file__).resolve().parent
    entry_files = package / "_source"
    if not entry_files.is_dir():
        return package.parent
    folder = Path(tempfile.mkdtemp(prefix="thorax-source-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    leave_out = shutil.ignore_patterns("__pycache__", entry_files.name)
    shutil.copytree(package, folder / "thorax", ignore=leave_out)
    shutil.copytree(entry_files, folder, ignore=leave_out, dirs_exist_ok=True)
    return folder


def child_command(name: str) -> list[str]:
    """The words that start the command `name` in another process, with the same two packages."""
    script = LAUNCH / f"{name}.py"
    return [sys.executable, *([str(script)] if not _DATA.is_dir() else ["-m", "thorax_launch", name])]


def relative(path: Path) -> str:
    """The path as the user would type it in the current folder."""
    near = os.path.relpath(path)
    return near if not near.startswith("..") else str(path)
