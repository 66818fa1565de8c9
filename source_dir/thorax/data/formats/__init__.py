"""Formats of a channel. Each module here has NAME, `finds(channel) -> what it saw or ""` and `read(channel) ->
Listing`.

A new format is a new module in FORMATS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thorax.data.formats import coco, folders, lst, manifest, nih, recordio, shards, table
from thorax.data.formats.channel import KINDS, Channel, ReadOptions
from thorax.data.samples import Listing
from thorax.errors import ThoraxError

FORMATS: dict[str, Any] = {
    module.NAME: module for module in (folders, lst, recordio, manifest, table, nih, coco, shards)
}
#: Other names that data_format takes.
ALIASES = {"csv": "table", "parquet": "table", "rec": "recordio"}


def read_channel(
    name: str,
    folder: Path,
    data_format: str = "auto",
    options: ReadOptions | None = None,
    lists: Path | None = None,
    table: str = "",
) -> Listing:
    """The images of one channel.

    Args:
        name: the channel, for errors.
        folder: its folder.
        data_format: a key of FORMATS or ALIASES, or auto to look.
        options: what the user says about formats.
        lists: the companion channel with its .lst (train_lst beside train); then the format is lst.
        table: of several tables in the folder, the name of the one that is meant.

    Raises:
        ThoraxError: no images, no known format, or more than one; whatever the format cannot read. It names the
            channel.
    """
    if not folder.is_dir():
        raise ThoraxError(f"channel {name}: {folder} is not a folder")
    channel = Channel(folder, options or ReadOptions(), lists, table)
    try:
        if not channel.files and not channel.folders:
            raise ThoraxError(f"{folder} is empty")
        listing: Listing = FORMATS[_format(channel, data_format)].read(channel)
        if not len(listing.ids):
            raise ThoraxError(f"no images in {folder}")
        _check_names(listing)
    except ThoraxError as error:
        raise ThoraxError(f"channel {name}: {error}") from None
    except OSError as error:
        raise ThoraxError(
            f"channel {name}: {error.filename or folder} cannot be read: {error.strerror or error}"
        ) from None
    return listing


def _check_names(listing: Listing) -> None:
    """Every list, table and log line that a run writes holds these names: they must be text of one line."""
    for name in listing.ids:
        if (
            "\t" in name
            or "\n" in name
            or "\r" in name
            or (not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name))
        ):
            raise ThoraxError(
                f"the name of the image {name!r} holds a tab, a line break or bytes that are not UTF-8; rename it"
            )


def _format(channel: Channel, asked: str) -> str:
    """The channel's format by name."""
    if channel.lists is not None:
        if asked not in ("auto", lst.NAME):
            raise ThoraxError(f"data_format={asked} but a list is given in {channel.lists}; leave one of them out")
        return lst.NAME
    if asked != "auto":
        key = ALIASES.get(asked, asked)
        if key not in FORMATS:
            raise ThoraxError(f"data_format={asked} is not one of auto, {', '.join(FORMATS)}")
        if not FORMATS[key].finds(channel):
            raise ThoraxError(f"data_format={asked} but {channel.folder} holds {channel.inventory()}")
        return key
    seen = {key: saw for key, module in FORMATS.items() if (saw := module.finds(channel)) and channel.table in saw}
    if not seen and channel.table:
        raise ThoraxError(
            f"{channel.folder / channel.table} is no list of images that is known: a .csv with a path column, .parquet,"
            " .lst, .rec, .manifest ..."
        )
    if not seen:
        raise ThoraxError(
            f"no known format in {channel.folder}, which holds {channel.inventory()}; "
            f"expected a folder of images ({KINDS}) per class, or one .csv with a path column "
            "(or .parquet, .lst, .rec, .manifest, .tar, NIH's Data_Entry_2017.csv, COCO's annotations/*.json)"
        )
    if len(seen) > 1:
        raise ThoraxError(
            f"{channel.folder} holds {' and '.join(seen.values())}; choose one by data_format={'|'.join(seen)}"
        )
    return next(iter(seen))
