"""Makes the two packages of this checkout importable for the scripts beside this file, and no other name of its
folders.
"""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

LAUNCH = Path(__file__).resolve().parent

sys.path[:] = [path for path in sys.path if path != str(LAUNCH)]  # a script's name, such as evaluate, hides no package
for name, folder in (("thorax", LAUNCH.parent / "source_dir"), ("thorax_launch", LAUNCH)):
    if name not in sys.modules:
        spec = PathFinder.find_spec(name, [str(folder)])
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
