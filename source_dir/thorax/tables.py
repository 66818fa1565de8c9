"""Tables: CSV (perhaps packed with gzip) and Parquet, read as texts, and written whole or not at all."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

import numpy as np

from thorax.errors import ThoraxError
from thorax.files import check_beside, check_output, write_whole
from thorax.shown import cell, read_cell
from thorax.unpacking import Unpacked, check_size, most_bytes

_AT_ONCE = 4096  #: rows that are turned into columns together
#: The first line of a CSV of some spreadsheets, which names the sign between its columns.
_SEPARATOR_LINE = re.compile(r'"?sep=([,;|\t])"?', re.IGNORECASE)
#: Characters of a header.
_LONGEST = 1 << 20
_BREAK = re.compile(r"\r\n|\r|\n")
_SIGNS = {";": "semicolons", "\t": "tabs", "|": "bars"}

#: Name -> values, all of one length.
Columns = Mapping[str, Sequence[Any] | np.ndarray]


# -- Reading -----------------------------------------------------------------------------------------------------------


class Table(NamedTuple):
    """A table's texts.

    Attributes:
        file: it was read from.
        header: names of the columns as written; "" for a column without a name, which has no other place than its own.
        columns: (N,) texts each.
        lines: of the file, where each row ends; Parquet: numbers of the rows, from 1.
        notes: lines for the log: how the file is written, where it is no plain CSV in UTF-8.
    """

    file: Path
    header: list[str]
    columns: Sequence[Sequence[str]]
    lines: Sequence[int]
    notes: tuple[str, ...] = ()

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
        ThoraxError: no such file, other bytes than FILE.sha256 beside it says, not a table in UTF-8 or UTF-16, one
            that unpacks to too much, no rows, two columns of one name, a row of another length than the header's or a
            quote that is not closed (with its line), or pyarrow is missing.
    """
    if not file.is_file():
        raise ThoraxError(f"{file} is not a file")
    check_beside(file)
    table = _read_parquet(file) if _is_parquet(file) else _read_csv(file, ragged, only)
    _check_header(file, table.header, only)
    kept = [k for k, name in enumerate(table.header) if only is None or only(name)]
    if len(kept) < len(table.header):
        table = table._replace(header=[table.header[k] for k in kept], columns=[table.columns[k] for k in kept])
    return table


def read_header(file: Path) -> list[str]:
    """The column names of a CSV or .csv.gz; [] where it has none that can be read. Parquet is not opened."""
    try:
        with _opened(file) as stream:
            return _Dialect.of(stream).header
    except (UnicodeDecodeError, csv.Error, EOFError, OSError, zlib.error):
        return []


def _check_header(file: Path, header: Sequence[str], only: Callable[[str], bool] | None) -> None:
    """Refuses two columns of one name: nobody knows which of them counts."""
    twice = [name for name, count in Counter(header).items() if name and count > 1 and (only is None or only(name))]
    if twice:
        raise ThoraxError(f"{file} has the column {twice[0]} twice; rename one of them, or remove it")


def _opened(file: Path) -> TextIO:
    stream: BinaryIO = file.open("rb")
    if file.suffix.lower() == ".gz":
        stream = io.BufferedReader(Unpacked(stream, file), 2**20)  # type: ignore[assignment]
    first = stream.peek(2)[:2]  # type: ignore[attr-defined]
    encoding = "utf-16" if first in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    return io.TextIOWrapper(stream, encoding=encoding, newline="")


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() == ".parquet"


class _Dialect(NamedTuple):
    """How a CSV is written: its header, the sign between its columns, and the lines before its first row."""

    header: list[str]
    separator: str
    lines: int

    @classmethod
    def of(cls, stream: TextIO) -> _Dialect:
        """Read from the start of a file. A header of one column that holds semicolons, tabs or bars is cut there."""
        separator, count = ",", 0
        for line in iter(partial(stream.readline, _LONGEST), ""):
            count += 1
            if len(line) == _LONGEST:
                raise csv.Error(f"line {count} has more than {_LONGEST:,} characters")
            if found := _SEPARATOR_LINE.fullmatch(line.strip()):
                separator = found[1]
            elif line.strip():
                break
        else:
            return cls([], separator, count)
        for other in (separator, ";", "\t", "|"):
            reader = csv.reader(chain([line], iter(stream.readline, "")), delimiter=other)
            row, more = next(reader), reader.line_num - 1
            if more or len(row) > 1:
                return cls([read_cell(name.strip()) for name in row], other, count + more)
        return cls([line.strip().strip('"')], separator, count)

    def notes(self, stream: TextIO) -> tuple[str, ...]:
        """A line where the file is written in another way than with commas in UTF-8."""
        said = ["in UTF-16"] if stream.encoding == "utf-16" else []
        if self.separator != ",":
            said.append(f"with {_SIGNS.get(self.separator, repr(self.separator))} between columns")
        return (f"the table is read as one {' and '.join(said)}",) if said else ()


def _read_csv(file: Path, ragged: bool, only: Callable[[str], bool] | None) -> Table:
    """Blank lines are passed over; columns that are not kept stay empty."""
    columns: list[list[str]] = []
    lines: list[int] = []
    try:
        with _opened(file) as stream:
            dialect = _Dialect.of(stream)
            header, notes = dialect.header, dialect.notes(stream)
            columns = [[] for _ in header]
            kept = [k for k, name in enumerate(header) if only is None or only(name)]
            for rows, numbers in _rows(stream, dialect):
                if set(map(len, rows)) - {len(header)}:
                    wrong = next(k for k, row in enumerate(rows) if len(row) != len(header))
                    if not ragged:
                        values = f"has {len(rows[wrong])} values, the header has {len(header)}"
                        raise ThoraxError(f"{file} line {numbers[wrong]} {values}")
                    rows = [row + [""] * (len(header) - len(row)) for row in rows]
                across = list(zip(*rows, strict=False))
                for k in kept:
                    columns[k] += _meant(across[k])
                lines += numbers
                last = rows[-1]
        if lines and any("\n" in cell or "\r" in cell for cell in last):
            _check_last(file, dialect, lines[-1] - _breaks(last))
    except (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ThoraxError(f"{file} is not a CSV in UTF-8: {error}; a table is a .csv or .parquet file") from None
    if not lines:
        raise ThoraxError(f"{file} has no rows below its header" if header else f"{file} is empty")
    return Table(file, header, columns, lines, notes)


def _rows(stream: TextIO, dialect: _Dialect) -> Iterator[tuple[list[list[str]], Sequence[int]]]:
    """Rows with any cell that is not empty, some thousands at a time, and the line that each ends on."""
    reader, before = csv.reader(stream, delimiter=dialect.separator), dialect.lines
    while rows := list(islice(reader, _AT_ONCE)):
        numbers: Sequence[int] = range(before + 1, before + len(rows) + 1)
        after = dialect.lines + reader.line_num
        if after - before > len(rows):  # cells of several lines
            numbers = (before + np.cumsum([1 + _breaks(row) for row in rows])).tolist()
        if not all(map(any, rows)):
            numbers = [number for number, row in zip(numbers, rows, strict=True) if any(row)]
            rows = [row for row in rows if any(row)]
        before = after
        if rows:
            yield rows, numbers


def _meant(texts: Sequence[str]) -> Sequence[str]:
    """The texts of cells as `cell` wrote them."""
    return list(map(read_cell, texts)) if any(text.startswith("'") for text in texts) else texts


def _breaks(row: Sequence[str]) -> int:
    """Line breaks in the cells of a row."""
    text = "\0".join(row)
    return len(_BREAK.findall(text)) if "\n" in text or "\r" in text else 0


def _check_last(file: Path, dialect: _Dialect, line: int) -> None:
    """Refuses a last row, from this line on, that begins with a quote that is not closed: it holds all lines below."""
    with _opened(file) as stream:
        text = islice(stream, line - 1, None)
        try:
            for _ in csv.reader(text, delimiter=dialect.separator, strict=True):
                pass
        except csv.Error as error:
            if "end of data" in str(error):
                raise ThoraxError(
                    f"{file} line {line} has a quote that is not closed before the file ends; correct that line"
                ) from None


def _read_parquet(file: Path) -> Table:
    """Null becomes an empty text, a list its items with | between."""
    pyarrow, parquet = _pyarrow(file)
    try:
        about = parquet.read_metadata(file)
        groups = (about.row_group(k).total_byte_size for k in range(about.num_row_groups))
        check_size(file, max(sum(groups), 8 * about.num_rows * about.num_columns), most_bytes(file.stat().st_size))
        stored = parquet.read_table(file, page_checksum_verification=True)
        names = list(stored.column_names)
        columns = [[_as_text(value) for value in stored.column(k).to_pylist()] for k in range(len(names))]
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise ThoraxError(f"{file} is not a readable Parquet file: {' '.join(str(error).split())}") from None
    if not stored.num_rows:
        raise ThoraxError(f"{file} has no rows")
    return Table(file, names, columns, range(1, stored.num_rows + 1))


def _as_text(value: Any) -> str:
    """A value of Parquet as a CSV would have it."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(map(str, value))
    return str(int(value)) if isinstance(value, bool) else str(value)


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
    """Writes the table as Parquet or CSV, by the file's suffix, whole or not at all; only its owner may read it, as
    tables of images name patients.

    Raises:
        ThoraxError: the file cannot be written, or pyarrow is missing.
    """
    write_whole(
        _parquet_bytes(columns, file) if _is_parquet(file) else to_csv(columns).encode("utf-8", "surrogateescape"),
        file,
        what,
        private=True,
    )


def to_csv(columns: Columns) -> str:
    """The table as text.

    None and NaN are blank; floats have as many digits as their type needs to be read back the same; texts as `cell`
    writes them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(cell, columns))
    writer.writerows([_text(value) for value in row] for row in zip(*columns.values(), strict=True))
    return text.getvalue()


def _text(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else np.format_float_positional(value, trim="0")
    return "" if value is None else cell(value)


def _parquet_bytes(columns: Columns, file: Path) -> bytes:
    pyarrow, parquet = _pyarrow(file)
    out = io.BytesIO()
    parquet.write_table(pyarrow.table(dict(columns)), out, write_page_checksum=True)
    return out.getvalue()


def _pyarrow(file: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ThoraxError(f"{file}: Parquet needs pyarrow; pip install pyarrow, or use a .csv") from None
    return pyarrow, parquet
