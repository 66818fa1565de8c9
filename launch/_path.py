"""Where things are, and the one place that makes source_dir/ importable for the scripts in launch/."""

from __future__ import annotations

import sys
from pathlib import Path

LAUNCH = Path(__file__).resolve().parent
SOURCE_DIR = LAUNCH.parent / "source_dir"
RECIPES = LAUNCH / "recipes"

if str(SOURCE_DIR) not in sys.path:
    sys.path.insert(0, str(SOURCE_DIR))
