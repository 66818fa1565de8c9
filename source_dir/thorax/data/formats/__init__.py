"""Formats of a channel. `read_channel` reads one; FORMATS holds them all, and takes one from outside by registration:

    FORMATS.register("toy", Toy())  # Toy is a DataFormat

The names of this package are imported on first use: the configuration needs `registry` alone, without numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thorax.data.formats.reading import ALIASES, FORMATS, DataFormat, read_channel

__all__ = ["ALIASES", "FORMATS", "DataFormat", "read_channel"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module("thorax.data.formats.reading"), name)
