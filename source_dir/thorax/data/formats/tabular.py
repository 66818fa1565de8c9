"""Tables as texts: CSV, perhaps packed with gzip, and Parquet."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import NamedTuple

from thorax.errors import ThoraxError

_AT_ONCE = 4096  #: rows that are turned into columns together


class Table(NamedTuple):
    """A table's texts: file, header as written, columns, and the file's line of every row."""

    file: Path
    header: list[str]
    columns: Sequence[Sequence[str]]
    lines: Sequence[int]

    def one_of(self, names: Sequence[str]) -> Sequence[str] | None:
        """The first of these columns that is there."""
        lower = {name.lower(): k for k, name in enumerate(self.header)}
        return next((self.columns[lower[name]] for name in names if name in lower), None)


def read_csv(file: Path, *, ragged: bool = False) -> Table:
    """The texts of a CSV in UTF-8, perhaps packed with gzip; blank lines are passed over.

    Args:
        ragged: rows longer or shorter than the header are taken.

    Raises:
        ThoraxError: not a CSV in UTF-8, no rows, or a row of another length than the header's; with its line.
    """
    columns: list[list[str]] = []
    lines: list[int] = []
    try:
        with gzip.open(file, "rt", newline="", encoding="utf-8-sig") if file.suffix == ".gz" else file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next((row for row in reader if row), [])]
            columns = [[] for _ in header]
            numbered = ((reader.line_num, row) for row in reader if row)
            while some := list(islice(numbered, _AT_ONCE)):
                for number, row in some:
                    if len(row) != len(header) and not ragged:
                        raise ThoraxError(f"{file} line {number} has {len(row)} values, the header has {len(header)}")
                lines += [number for number, _ in some]
                for column, (_, *values) in zip(columns, zip_longest(header, *(row for _, row in some), fillvalue=""), strict=False):
                    column += values
    except (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile) as error:
        raise ThoraxError(f"{file} is not a CSV in UTF-8: {error}") from None
    if not lines:
        raise ThoraxError(f"{file} has no rows below its header")
    return Table(file, header, columns, lines)


def read_parquet(file: Path) -> Table:
    """The columns of a Parquet file as texts (null: ""); lines are rows, counted from 1.

    Raises:
        ThoraxError: pyarrow is not installed, the file is no Parquet, or has no rows.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ThoraxError(f"{file} is Parquet: reading it needs pyarrow; pip install pyarrow, or write a CSV") from None
    try:
        stored = pyarrow.parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise ThoraxError(f"{file} is not a readable Parquet file: {' '.join(str(error).split())}") from None
    if not stored.num_rows:
        raise ThoraxError(f"{file} has no rows")
    columns = []
    for name in stored.column_names:
        values = stored[name].to_pylist()
        columns.append(["" if v is None else "|".join(map(str, v)) if isinstance(v, list) else str(int(v)) if isinstance(v, bool) else str(v) for v in values])
    return Table(file, list(stored.column_names), columns, range(1, stored.num_rows + 1))
