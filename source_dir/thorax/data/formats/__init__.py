"""Formats of a channel. Each module here has NAME, `finds(folder) -> what it saw or ""` and `read(folder) -> Listing`.

A new format is a new module in FORMATS.
"""

from __future__ import annotations

from pathlib import Path

from thorax.data.formats import csv_table, folders, shards
from thorax.data.samples import Listing
from thorax.errors import ThoraxError

FORMATS = {module.NAME: module for module in (folders, csv_table, shards)}


def read_channel(name: str, folder: Path, data_format: str = "auto") -> Listing:
    """The films of one channel.

    Args:
        name: the channel, for errors.
        folder: its folder.
        data_format: a key of FORMATS, or auto to look.

    Raises:
        ThoraxError: no films, no known format, or more than one.
    """
    if not folder.is_dir():
        raise ThoraxError(f"channel {name}: {folder} is not a folder")
    if not any(folder.iterdir()):
        raise ThoraxError(f"channel {name}: {folder} is empty")
    seen = {key: saw for key, module in FORMATS.items() if (saw := module.finds(folder))}
    if data_format != "auto":
        if data_format not in seen:
            raise ThoraxError(f"channel {name}: data_format={data_format} but {folder} holds {_inventory(folder)}")
        return _read(name, folder, data_format)
    if not seen:
        raise ThoraxError(
            f"channel {name}: no known format in {folder}, which holds {_inventory(folder)}; "
            "expected a folder of JPEG or PNG films per class, or one .csv with a path column")  # fmt: skip
    if len(seen) > 1:
        raise ThoraxError(f"channel {name}: {folder} holds {' and '.join(seen.values())}; choose one by data_format={'|'.join(seen)}")
    return _read(name, folder, next(iter(seen)))


def _read(name: str, folder: Path, key: str) -> Listing:
    try:
        listing: Listing = FORMATS[key].read(folder)
    except ThoraxError as error:
        raise ThoraxError(f"channel {name}: {error}") from None
    if not listing.ids:
        raise ThoraxError(f"channel {name}: no films in {folder}")
    return listing


def _inventory(folder: Path) -> str:
    entries = sorted(folder.iterdir())
    folders_ = sum(e.is_dir() for e in entries)
    names = ", ".join(e.name for e in entries[:3]) + (", ..." if len(entries) > 3 else "")
    return f"{len(entries) - folders_} files and {folders_} folders ({names})"
