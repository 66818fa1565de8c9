"""The labels of a table or a published set without its images: to look at a set before it is downloaded."""

from __future__ import annotations

from pathlib import Path

from thorax.data.formats.channel import ReadOptions
from thorax.data.formats.reading import read_channel
from thorax.data.formats.table_options import TableOptions
from thorax.data.samples import Listing


def label_table(folder: Path, table: TableOptions | None = None, data_format: str = "auto") -> Listing:
    """The rows of the tables in a folder as if all of their images were there.

    Args:
        folder: with the set's tables.
        table: what the user says about them; default: nothing.
        data_format: see read_channel.

    Raises:
        ThoraxError: as `read_channel`, but for images that are not there.
    """
    return read_channel(str(folder), folder, data_format, ReadOptions(table=table or TableOptions(), images=False))
