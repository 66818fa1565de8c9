"""Starts a command of `thorax` with the two packages of this checkout, and with no other module of its folders."""

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

LAUNCH = Path(__file__).resolve().parent


def run(command: str) -> None:
    """Runs the command and exits with its exit code."""
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != LAUNCH]  # evaluate.py hides no package
    for name, folder in (("thorax", LAUNCH.parent / "source_dir"), ("thorax_launch", LAUNCH)):
        if name not in sys.modules:
            spec = PathFinder.find_spec(name, [str(folder)])
            assert spec is not None and spec.loader is not None
            sys.modules[name] = module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
    sys.exit(import_module("thorax_launch.cli").run(command))
