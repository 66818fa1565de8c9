"""Tables: CSV (perhaps packed with gzip) and Parquet, read as texts, and written whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from thorax.errors import ThoraxError
from thorax.files import check_output, write_whole

_AT_ONCE = 4096  #: rows that are turned into columns together

#: Name -> values, all of one length.
Columns = Mapping[str, Sequence[Any] | np.ndarray]


# -- Reading -----------------------------------------------------------------------------------------------------------


class Table(NamedTuple):
    """A table's texts: file, header as written, columns, and each row's line of the file (Parquet.

    Its number, from 1).
    """

    file: Path
    header: list[str]
    columns: Sequence[Sequence[str]]
    lines: Sequence[int]

    def one_of(self, names: Sequence[str]) -> Sequence[str] | None:
        """The first of these columns that is there, whatever its case."""
        lower = {name.lower(): k for k, name in enumerate(self.header)}
        return next((self.columns[lower[name]] for name in names if name in lower), None)

    def by_name(self) -> dict[str, Sequence[str]]:
        """Column names as written -> texts."""
        return dict(zip(self.header, self.columns, strict=True))

    def row(self, n: int) -> str:
        """What row n (from 0) is called in errors: the file and its place there."""
        return f"{self.file} {'row' if _is_parquet(self.file) else 'line'} {self.lines[n]}"


def read_table(file: Path, *, ragged: bool = False, only: Callable[[str], bool] | None = None) -> Table:
    """The texts of a CSV, a .csv.gz or a Parquet file.

    Args:
        ragged: rows of a CSV that are longer or shorter than its header are taken.
        only: whether a column of this name is kept; default: all are.

    Raises:
        ThoraxError: no such file, not a table in UTF-8, no rows, a row of another length than the header's (with its
            line), or
            pyarrow is missing.
    """
    if not file.is_file():
        raise ThoraxError(f"{file} is not a file")
    table = _read_parquet(file) if _is_parquet(file) else _read_csv(file, ragged, only)
    kept = [k for k, name in enumerate(table.header) if only is None or only(name)]
    if len(kept) < len(table.header):
        table = table._replace(header=[table.header[k] for k in kept], columns=[table.columns[k] for k in kept])
    return table


def read_header(file: Path) -> list[str]:
    """The column names of a CSV or .csv.gz; [] where it has none that can be read. Parquet is not opened."""
    try:
        with _opened(file) as stream:
            return [name.strip() for name in next((row for row in csv.reader(stream) if row), [])]
    except (UnicodeDecodeError, csv.Error, EOFError, OSError):
        return []


def _opened(file: Path) -> TextIO:
    if file.suffix == ".gz":
        unpacked = io.BufferedReader(gzip.GzipFile(file), 2**20)  # type: ignore[arg-type]
        return io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline="")
    return file.open(newline="", encoding="utf-8-sig")


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() == ".parquet"


def _read_csv(file: Path, ragged: bool, only: Callable[[str], bool] | None) -> Table:
    """Blank lines are passed over; columns that are not kept stay empty."""
    columns: list[list[str]] = []
    lines: list[int] = []
    try:
        with _opened(file) as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next((row for row in reader if row), [])]
            columns = [[] for _ in header]
            kept = [k for k, name in enumerate(header) if only is None or only(name)]
            while some := list(islice(_rows(reader, lines), _AT_ONCE)):
                for number, row in zip(lines[-len(some) :], some, strict=True):
                    if len(row) != len(header) and not ragged:
                        raise ThoraxError(f"{file} line {number} has {len(row)} values, the header has {len(header)}")
                for k in kept:
                    columns[k] += (
                        [row[k] if k < len(row) else "" for row in some] if ragged else [row[k] for row in some]
                    )
    except (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile) as error:
        raise ThoraxError(f"{file} is not a CSV in UTF-8: {error}; a table is a .csv or .parquet file") from None
    if not lines:
        raise ThoraxError(f"{file} has no rows below its header" if header else f"{file} is empty")
    return Table(file, header, columns, lines)


def _rows(reader: Any, lines: list[int]) -> Iterator[list[str]]:
    """The rows that are not blank; `lines` gets the line that each ends on."""
    for row in reader:
        if row:
            lines.append(reader.line_num)
            yield row


def _read_parquet(file: Path) -> Table:
    """Null becomes an empty text, a list its items with | between."""
    pyarrow, parquet = _pyarrow(file)
    try:
        stored = parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise ThoraxError(f"{file} is not a readable Parquet file: {' '.join(str(error).split())}") from None
    if not stored.num_rows:
        raise ThoraxError(f"{file} has no rows")
    columns = []
    for name in stored.column_names:
        values = stored[name].to_pylist()
        columns.append(
            [
                ""
                if v is None
                else "|".join(map(str, v))
                if isinstance(v, list)
                else str(int(v))
                if isinstance(v, bool)
                else str(v)
                for v in values
            ]
        )
    return Table(file, list(stored.column_names), columns, range(1, stored.num_rows + 1))


# -- Writing -----------------------------------------------------------------------------------------------------------


def check_table(file: Path, flag: str) -> None:
    """Refuses a table that could not be written, before hours are spent; makes its folder.

    Raises:
        ThoraxError: another suffix than .csv or .parquet, no pyarrow for the latter; or as check_output says.
    """
    if file.suffix.lower() not in (".csv", ".parquet"):
        raise ThoraxError(f"{flag} {file} must end in .csv or .parquet")
    if _is_parquet(file):
        _pyarrow(file)
    check_output(file, flag)


def write_table(columns: Columns, file: Path, what: str) -> None:
    """Writes the table as Parquet or CSV, by the file's suffix, whole or not at all.

    Raises:
        ThoraxError: the file cannot be written, or pyarrow is missing.
    """
    write_whole(
        _parquet_bytes(columns, file) if _is_parquet(file) else to_csv(columns).encode("utf-8", "surrogateescape"),
        file,
        what,
    )


def to_csv(columns: Columns) -> str:
    """The table as text.

    None and NaN are blank; floats have as many digits as their type needs to be read back the same.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(value) for value in row] for row in zip(*columns.values(), strict=True))
    return text.getvalue()


def _text(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else np.format_float_positional(value, trim="0")
    return "" if value is None else value


def _parquet_bytes(columns: Columns, file: Path) -> bytes:
    pyarrow, parquet = _pyarrow(file)
    out = io.BytesIO()
    parquet.write_table(pyarrow.table(dict(columns)), out)
    return out.getvalue()


def _pyarrow(file: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ThoraxError(f"{file}: Parquet needs pyarrow; pip install pyarrow, or use a .csv") from None
    return pyarrow, parquet
