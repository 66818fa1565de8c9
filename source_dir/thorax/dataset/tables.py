"""A listing as a table that training takes: path, patient, split where the set tells it, and a column per label."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thorax.tables import check_table, write_table

if TYPE_CHECKING:
    from thorax.data.samples import Listing


def write_listing(listing: Listing, images: Path, out: Path) -> None:
    """Writes CSV or, by the suffix, Parquet; paths are relative to `images`, unknown labels are blank.

    Raises:
        ThoraxError: another suffix, pyarrow is missing, or the file cannot be written.
    """
    check_table(out, "--out")
    columns: dict[str, Sequence[object]] = {
        "path": [_relative(source, images) for source in map(str, listing.sources)],
        "patient": list(listing.patients),
    }
    if listing.parts is not None:
        columns["split"] = list(listing.parts)
    for k, name in enumerate(listing.names):
        columns[name] = [None if np.isnan(value) else int(value) for value in listing.targets[:, k]]
    write_table(columns, out, "table")
    positives = ", ".join(
        f"{name} {int(count)}" for name, count in zip(listing.names, np.nansum(listing.targets, axis=0), strict=True)
    )
    parts = (
        ""
        if listing.parts is None
        else "; " + ", ".join(f"{part} {list(listing.parts).count(part)}" for part in dict.fromkeys(listing.parts))
    )
    print(f"{out}: {len(listing.ids)} images ({positives}){parts}; paths are relative to {images}")


def _relative(source: str, images: Path) -> str:
    return Path(os.path.relpath(source, images)).as_posix()
