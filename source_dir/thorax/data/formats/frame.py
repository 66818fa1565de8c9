"""Rows of one table or several of the same kind, asked for their columns by any spelling of the name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from thorax.data.formats.channel import nearest
from thorax.data.formats.names import key, place_of, plain_ids, same_value
from thorax.errors import ThoraxError
from thorax.tables import read_table
from thorax.text import counted, has


class Frame:
    """Columns of texts, and where each row comes from.

    Args:
        columns: name as written -> (N,) texts.
        files: the tables.
        which: (N,) place among `files` of each row.
        lines: (N,) line of it.
    """

    def __init__(
        self, columns: Mapping[str, Sequence[str]], files: Sequence[Path], which: np.ndarray, lines: np.ndarray
    ) -> None:
        self.columns, self.files, self.which, self.lines = dict(columns), list(files), which, lines
        self.notes: list[str] = []  #: lines for the log: which rows were left out
        self.lacking: dict[str, str] = {}  #: column -> a table of several that has it not; it is blank there

    @classmethod
    def read(cls, *files: Path, only: Sequence[str] = (), ragged: bool = False) -> Frame:
        """The rows of these tables, one after the other; a column that one of them lacks is blank there.

        Args:
            only: columns to keep, where a table has many long ones; default: all.
            ragged: rows longer or shorter than the header are taken.

        Raises:
            ThoraxError: as `read_table`.
        """
        tables = [read_table(file, ragged=ragged, only=_wanted(only)) for file in files]
        names = list(dict.fromkeys(name for table in tables for name in table.header if name))
        counts = [len(table.lines) for table in tables]
        columns: dict[str, list[str]] = {name: [] for name in names}
        for table, count in zip(tables, counts, strict=True):
            there = table.by_name()
            for name in names:
                columns[name] += there.get(name) or [""] * count
        lines = np.concatenate([np.asarray(table.lines, np.int64) for table in tables])
        frame = cls(columns, files, np.repeat(np.arange(len(files)), counts), lines)
        frame.lacking = {name: table.file.name for table in tables for name in names if name not in table.header}
        for table in tables:
            frame.notes += [f"{table.file.name}: {note}" for note in table.notes]
            if nameless := table.header.count(""):
                frame.notes.append(f"{counted(nameless, 'column')} of {table.file.name} without a name: not used")
        return frame

    def __len__(self) -> int:
        return len(self.lines)

    def row(self, n: int) -> str:
        """What row n is called in errors: file and line."""
        file = self.files[int(self.which[n])]
        return f"{file} {'row' if file.suffix.lower() == '.parquet' else 'line'} {self.lines[n]}"

    @property
    def name(self) -> str:
        return " and ".join(file.name for file in self.files)

    def find(self, *names: str) -> str | None:
        """The first of these columns that is there, as the table writes it."""
        written = list(self.columns)
        places = (place_of(name, written, f"columns of {self.name}") for name in names if name)
        return next((written[k] for k in places if k is not None), None)

    def get(self, *names: str) -> Sequence[str] | None:
        """The texts of the first of these columns that is there."""
        found = self.find(*names)
        return None if found is None else self.columns[found]

    def need(self, name: str, flag: str = "") -> Sequence[str]:
        """The texts of a column.

        Raises:
            ThoraxError: it is not there; `flag` is the hyperparameter that names it.
        """
        if (column := self.get(name)) is None:
            said = f"{flag}={name}: " if flag else ""
            raise ThoraxError(
                f"{said}{self.files[0]} has no column {name}{nearest(name, self.columns)}; it has"
                f" {', '.join(self.columns)}"
            )
        return column

    def stripped(self, name: str) -> list[str]:
        """As `need`, of images: without blanks around."""
        return [text.strip() for text in self.need(name)]

    def ids(self, name: str) -> list[str]:
        """As `need`, of patients and studies: see `names.plain_ids`."""
        return plain_ids(self.need(name))

    def take(self, rows: np.ndarray) -> Frame:
        """The rows at these (n,) places."""
        places = np.asarray(rows, np.int64).tolist()
        columns = {name: [column[k] for k in places] for name, column in self.columns.items()}
        taken = Frame(columns, self.files, self.which[rows], self.lines[rows])
        taken.notes, taken.lacking = list(self.notes), self.lacking
        return taken

    def filtered(self, conditions: Sequence[tuple[str, Sequence[str]]]) -> Frame:
        """The rows that fulfil all conditions; a note says how many those are.

        Raises:
            ThoraxError: a column is not there, or no row is left; with the values that are there.
        """
        if not conditions:
            return self
        kept = np.ones(len(self), bool)
        for name, values in conditions:
            column = self.need(name, "where")
            good = {text for text in set(column) if any(same_value(text, value) for value in values)}
            if not good:
                there = ", ".join(sorted(set(column))[:10])
                raise ThoraxError(f"where={name}={','.join(values)}: {self.files[0]} has none of it there, but {there}")
            kept &= np.fromiter((text in good for text in column), bool, len(self))
        said = " and ".join(f"{name}={','.join(values)}" for name, values in conditions)
        if not kept.any():
            raise ThoraxError(f"where: no row of {self.files[0]} has {said}")
        frame = self.take(np.flatnonzero(kept))
        rows = f"{kept.sum():,} of {counted(len(kept), 'row')} of {self.name}"
        frame.notes.append(f"{rows} {has(len(frame))} {said}; the others are left out")
        return frame

    def joined(self, other: Frame, on: Sequence[str]) -> tuple[Frame, int]:
        """Each row with the columns of the other's row of the same key; rows without one are left out.

        Returns:
            The rows, and how many were left out.

        Raises:
            ThoraxError: the other has a key twice, with both lines.
        """
        keys = list(zip(*(other.ids(name) for name in on), strict=True))
        place: dict[tuple[str, ...], int] = {}
        for n, values in enumerate(keys):
            if (first := place.setdefault(values, n)) != n:
                raise ThoraxError(f"{other.row(n)} has {' '.join(values)} a second time, after {other.row(first)}")
        mine = zip(*(self.ids(name) for name in on), strict=True)
        found = np.fromiter((place.get(values, -1) for values in mine), np.int64, len(self))
        rows = np.flatnonzero(found >= 0)
        frame, more = self.take(rows), other.take(found[rows])
        frame.columns = more.columns | frame.columns
        return frame, len(self) - len(rows)


def _wanted(only: Sequence[str]) -> Callable[[str], bool] | None:
    keys = {key(name) for name in only}
    return (lambda name: key(name) in keys) if keys else None
