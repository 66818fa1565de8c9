"""Data sets before training: check, measure, split, list, pack and convert them, from Python or as

    python -m thorax.dataset check|stats|list|split|pack|coco|nih ...

The functions are imported on first use, so that the command line shows its help without numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thorax.dataset.checking import check as check
    from thorax.dataset.inventory import read_inventory as read_inventory
    from thorax.dataset.pack_state import PackOptions as PackOptions
    from thorax.dataset.packing import pack as pack
    from thorax.dataset.packing import verify as verify
    from thorax.dataset.pixel_stats import stats as stats
    from thorax.dataset.public_sets import coco_labels as coco_labels
    from thorax.dataset.public_sets import nih_labels as nih_labels
    from thorax.dataset.reading import read_images as read_images
    from thorax.dataset.splitting import split as split
    from thorax.dataset.writing import write_listing as write_listing
    from thorax.dataset.writing import write_lists as write_lists

_HOMES = {
    "checking": ("check",),
    "inventory": ("read_inventory",),
    "pack_state": ("PackOptions",),
    "packing": ("pack", "verify"),
    "pixel_stats": ("stats",),
    "public_sets": ("coco_labels", "nih_labels"),
    "reading": ("read_images",),
    "splitting": ("split",),
    "writing": ("write_listing", "write_lists"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
