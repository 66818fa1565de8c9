"""Reads a channel in whatever format it is, given or found by looking."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from thorax.data.decoders import kinds
from thorax.data.formats.channel import Channel, ReadOptions
from thorax.data.formats.coco import Coco
from thorax.data.formats.folders import Folders
from thorax.data.formats.lst import Lst
from thorax.data.formats.manifest import Manifest
from thorax.data.formats.nih import Nih
from thorax.data.formats.passed_over import notes_of
from thorax.data.formats.published_sets import PUBLISHED_SETS
from thorax.data.formats.recordio import RecordIO
from thorax.data.formats.registry import ALIASES, FORMAT_NAMES, FORMATS, IMAGES, RENAMED, DataFormat
from thorax.data.formats.shards import Shards
from thorax.data.formats.table import LabelTable
from thorax.data.patients import unknown_patients
from thorax.data.samples import Listing
from thorax.errors import ThoraxError, deprecated

__all__ = ["ALIASES", "FORMATS", "DataFormat", "content_type", "read_channel"]

for _entry in (Folders(), Lst(), RecordIO(), Manifest(), LabelTable(), Nih(), Coco(), Shards(), *PUBLISHED_SETS):
    FORMATS.register(_entry.name, _entry)


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

    Returns:
        The images; its notes say also what the channel holds and is left out, and of how many no patient is known.

    Raises:
        ThoraxError: no images, no known format, or more than one; or what the format cannot read. It names the channel.
    """
    if not folder.is_dir():
        raise ThoraxError(f"channel {name}: {folder} is not a folder")
    channel = Channel(folder, options or ReadOptions(), lists, table)
    try:
        with _uncollected():
            return _read(channel, data_format)
    except ThoraxError as error:
        raise ThoraxError(f"channel {name}: {error}") from None
    except OSError as error:
        place, why = error.filename or folder, error.strerror or error
        raise ThoraxError(f"channel {name}: {place} cannot be read: {why}") from None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for cycles: a table makes millions of texts, none in a cycle, and it would look at them
    again and again, for a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read(channel: Channel, data_format: str) -> Listing:
    folder = channel.folder
    if not channel.files and not channel.folders:
        raise ThoraxError(f"{folder} is empty")
    found = _format(channel, data_format)
    listing = found.read(channel)
    if not len(listing.ids):
        raise ThoraxError(f"no images in {folder}")
    _check_names(listing)
    passed_over = notes_of(channel, all_images=found.name == "folder")
    unknown = unknown_patients(listing.ids, listing.patients)
    notes = (*listing.notes, *passed_over, *([unknown] if unknown else []))
    return dataclasses.replace(listing, notes=notes)


def _check_names(listing: Listing) -> None:
    """Every list, table and log line that a run writes holds these names: they must be text of one line."""
    for name in listing.ids:
        surrogates = not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name)
        if surrogates or "\t" in name or "\n" in name or "\r" in name:
            raise ThoraxError(
                f"the name of the image {name!r} holds a tab, a line break or bytes that are not UTF-8; rename it"
            )


def _format(channel: Channel, asked: str) -> DataFormat:
    """The channel's format."""
    if asked in RENAMED:
        deprecated(f"data_format={asked}", f"data_format={RENAMED[asked]}")
        asked = RENAMED[asked]
    if channel.lists is not None:
        if asked not in ("auto", "lst"):
            raise ThoraxError(f"data_format={asked} but a list is given in {channel.lists}; leave one of them out")
        return FORMATS["lst"]
    if asked == "auto":
        return _detected(channel)
    if asked not in FORMAT_NAMES:
        raise ThoraxError(f"data_format={asked} is not one of {', '.join(FORMAT_NAMES)}")
    found = FORMATS[ALIASES.get(asked, asked)]
    if not found.detect(channel):
        raise ThoraxError(f"data_format={asked} but {channel.folder} holds {channel.inventory()}")
    return found


def _detected(channel: Channel) -> DataFormat:
    """The one format that finds something in the channel; see FORMATS for the order."""
    found = {name: text for name in FORMATS if (text := FORMATS[name].detect(channel)) and channel.table in text}
    if len(found) == 1:
        return FORMATS[next(iter(found))]
    if found:
        raise ThoraxError(
            f"{channel.folder} holds {' and '.join(found.values())}; choose one by data_format={'|'.join(found)}"
        )
    if channel.table:
        raise ThoraxError(
            f"{channel.folder / channel.table} is no list of images that is known: a .csv with a path column, .parquet,"
            " .lst, .rec, .manifest ..."
        )
    raise ThoraxError(
        f"no known format in {channel.folder}, which holds {channel.inventory()}; "
        f"expected a folder of images ({kinds()}) per class, or one .csv with a path column "
        "(or .parquet, .lst, .rec, .manifest, .tar, NIH's Data_Entry_2017.csv, COCO's annotations/*.json)"
    )


def content_type(endings: Collection[str]) -> str:
    """SageMaker's content type of a channel with files of these endings; IMAGES where no format names another."""
    known = [kind for name in FORMATS for ending, kind in FORMATS[name].endings.items() if ending in endings]
    return next((kind for kind in known if kind != IMAGES), IMAGES)
