"""The names of our own bundle's weights and description, without torch."""

from __future__ import annotations

import os
from pathlib import Path

#: Weights of a bundle, those of older bundles, and what describes it, beside them.
WEIGHTS, OLD_WEIGHTS, DESCRIPTION = "model.safetensors", "model.pt", "bundle.json"


def weights_of_bundle(folder: Path) -> Path:
    """The weights of the bundle in a folder: model.safetensors, or the model.pt of an older one."""
    old = folder / OLD_WEIGHTS
    return old if os.path.lexists(old) and not os.path.lexists(folder / WEIGHTS) else folder / WEIGHTS
