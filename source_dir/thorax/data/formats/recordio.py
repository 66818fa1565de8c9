"""The built-in algorithm's RecordIO: one or more .rec files; no index is needed. Images stay where they are.

A .lst of the same name beside a .rec gives the images' paths, and by them their patients; without one the headers of
DICOM images do.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import ClassVar

import numpy as np

from thorax.data.columns import ByteRangeColumn
from thorax.data.formats.channel import Channel, shortened
from thorax.data.formats.label_values import from_numbers
from thorax.data.formats.lst import read_rows
from thorax.data.formats.registry import DataFormat
from thorax.data.packed import SUMS, WITHOUT, check_small_files
from thorax.data.patients import patients_of
from thorax.data.recordio import Record, scan, with_checksums
from thorax.data.samples import Listing
from thorax.errors import ThoraxError

#: Endings of the files that lie beside a .rec.
BESIDE = (".lst", ".idx")


class RecordIO(DataFormat):
    """Records with image and label, in one or more files."""

    name = "recordio"
    help = "SageMaker's built-in algorithm's RecordIO: .rec files"
    endings: ClassVar = {".rec": "application/x-recordio"}

    def detect(self, channel: Channel) -> str:
        records = self.files(channel)
        return f"RecordIO ({shortened(records, 4)})" if records else ""

    def read(self, channel: Channel) -> Listing:
        """Images of every .rec file, in their order.

        Raises:
            ThoraxError: a file is damaged (see recordio.scan), a label is out of range, or records have more labels
                than others.
        """
        files = [channel.folder / name for name in self.files(channel)]
        paths = [Path(name) for name in self.files(channel)]
        check_small_files(channel.folder, [str(name.with_suffix(ending)) for name in paths for ending in BESIDE])
        records, plain = _records(files)
        if not records:
            raise ThoraxError(f"{files[0]} holds no records")
        width = len(records[0].labels)
        for record in records:
            if len(record.labels) != width:
                raise ThoraxError(f"{_where(record)} has {len(record.labels)} labels, those before it {width}")
        values = np.stack([record.labels for record in records]).astype(np.float64)
        names, targets, exclusive = from_numbers(values, channel.options, lambda n: _where(records[n]))
        images = [record.image for record in records]
        by_file = groupby(records, key=lambda record: record.image.path)
        ids = [name for file, members in by_file for name in _names(file, list(members))]
        patients = patients_of(ids, images)
        notes: tuple[str, ...] = ()
        if patients == ids and not all(file.with_suffix(".lst").is_file() for file in files):
            notes = ("records name no patients; put the .lst that they were made from beside the .rec",)
        if plain and (channel.folder / SUMS).is_file():
            notes += (f"{shortened(plain, 3)}: {WITHOUT}",)
        unnamed = 0.0 if exclusive else np.nan
        sources = ByteRangeColumn.of(images)
        return Listing(names, ids, sources, targets, patients, exclusive, notes=notes, unnamed=unnamed)


def _records(files: list[Path]) -> tuple[list[Record], list[str]]:
    """The records of all files, and the names of the files without checksums."""
    records, plain = [], []
    for file in files:
        found, checked = with_checksums(list(scan(file)))
        records += found
        plain += [] if checked else [file.name]
    return records, plain


def _where(record: Record) -> str:
    return f"{record.image.path} record {record.id} at byte {record.offset}"


def _names(file: Path, records: list[Record]) -> list[str]:
    """Paths from the .lst beside the file, else its name and the records' ids; where these repeat, their numbers."""
    beside = file.with_suffix(".lst")
    if beside.is_file():
        rows = read_rows(beside)
        paths = dict(zip(rows.indices, rows.paths, strict=True))
        if unknown := [record for record in records if record.id not in paths]:
            raise ThoraxError(
                f"{_where(unknown[0])} is not in {beside.name}; put the list beside it that it was made from, or none"
            )
        names = [paths[record.id] for record in records]
    else:
        names = [f"{file.stem}/{record.id}" for record in records]
    return names if len(set(names)) == len(names) else [f"{file.stem}/{k}" for k in range(len(records))]
