"""Files that the commands write: texts, and a listing as a table that training takes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from thorax.data.samples import Listing
from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax.tables import Columns, check_table, write_table


def write_text(text: str, file: Path, what: str) -> None:
    """Writes a file, whole or not at all, and makes its folder.

    Raises:
        ThoraxError: it cannot be written; the message calls it `what`.
    """
    make_folder(file.parent)
    write_whole(text.encode(), file, what)


def make_folder(folder: Path) -> None:
    """Makes the folder and those above it; raises ThoraxError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ThoraxError(f"the folder {folder} cannot be made: {error.strerror}") from None


def write_listing(listing: Listing, images: Path, out: Path) -> None:
    """Writes a table of path, patient, split where the set has parts, and a column per label.

    Args:
        listing: the images.
        images: the folder that the paths are relative to.
        out: CSV or, by the ending, Parquet. Unknown labels are blank.

    Raises:
        ThoraxError: another ending, pyarrow is missing, or the file cannot be written.
    """
    check_table(out, "--out")
    columns: dict[str, list[object]] = {
        "path": [relative_path(source, images) for source in map(str, listing.sources)],
        "patient": list(listing.patients),
    }
    if listing.parts is not None:
        columns["split"] = list(listing.parts)
    for k, name in enumerate(listing.names):
        columns[name] = [None if np.isnan(value) else int(value) for value in listing.targets[:, k]]
    table: Columns = columns
    write_table(table, out, "table")


def relative_path(source: str, images: Path) -> str:
    """The path of an image relative to the folder, with "/"."""
    return Path(os.path.relpath(source, images)).as_posix()
