"""The built-in algorithm's RecordIO: one or more .rec files; no index is needed. Images stay where they are.

A .lst of the same name beside a .rec tells the images' paths, and by them their patients; else the images' DICOM
headers do.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np

from thorax.data.columns import ByteRangeColumn
from thorax.data.formats.channel import Channel
from thorax.data.formats.lst import read_rows
from thorax.data.formats.numbered import labelled
from thorax.data.patients import patients_of
from thorax.data.recordio import Record, scan
from thorax.data.samples import Listing
from thorax.errors import ThoraxError

NAME = "recordio"


def finds(channel: Channel) -> str:
    records = channel.ending(".rec")
    return f"RecordIO ({', '.join(records[:4])}{', ...' if len(records) > 4 else ''})" if records else ""


def read(channel: Channel) -> Listing:
    """Images of every .rec file, in their order.

    Raises:
        ThoraxError: a file is damaged (see recordio.scan), a label is out of range, or records have more labels than
            others.
    """
    files = [channel.folder / name for name in channel.ending(".rec")]
    records = [record for file in files for record in scan(file)]
    if not records:
        raise ThoraxError(f"{files[0]} holds no records")
    width = len(records[0].labels)
    for record in records:
        if len(record.labels) != width:
            raise ThoraxError(f"{_where(record)} has {len(record.labels)} labels, those before it {width}")
    values = np.stack([record.labels for record in records]).astype(np.float64)
    names, targets, exclusive = labelled(values, channel.options, lambda n: _where(records[n]))
    images = [record.image for record in records]
    ids = [
        name for file, mine in groupby(records, lambda record: record.image.path) for name in _names(file, list(mine))
    ]
    patients = patients_of(ids, images)
    notes: tuple[str, ...] = ()
    if patients == ids:
        advice = (
            ""
            if all(file.with_suffix(".lst").is_file() for file in files)
            else "; lay the .lst that they were made from beside the .rec"
        )
        notes = (f"records tell no patients: each image is taken for a patient of its own{advice}",)
    return Listing(
        names,
        ids,
        ByteRangeColumn.of(images),
        targets,
        patients,
        exclusive,
        notes=notes,
        unnamed=0.0 if exclusive else np.nan,
    )


def _where(record: Record) -> str:
    return f"{record.image.path} record {record.id} at byte {record.offset}"


def _names(file: Path, records: list[Record]) -> list[str]:
    """Paths from the .lst beside the file, else its name and the records' ids; where these repeat, their numbers."""
    beside = file.with_suffix(".lst")
    if beside.is_file():
        rows = read_rows(beside)
        paths = dict(zip(rows.indices, rows.paths, strict=True))
        unknown = [record for record in records if record.id not in paths]
        if unknown:
            raise ThoraxError(
                f"{_where(unknown[0])} is not in {beside.name}; lay the list beside it that it was made from, or none"
            )
        names = [paths[record.id] for record in records]
    else:
        names = [f"{file.stem}/{record.id}" for record in records]
    return names if len(set(names)) == len(names) else [f"{file.stem}/{k}" for k in range(len(records))]
