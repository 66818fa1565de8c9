"""Columns of a sample table: millions of strings and places in a few large arrays, not in millions of objects."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from thorax.data.recordio import SplitRecord
from thorax.data.source import ByteRange, Source

#: File names may be no UTF-8.
CODE = ("utf-8", "surrogateescape")


class Sources(Protocol):
    """A column of places; row k is where image k's bytes are."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Source: ...
    def __iter__(self) -> Iterator[Source]: ...
    def take(self, places: np.ndarray) -> Sources: ...
    @property
    def nbytes(self) -> int: ...


class StringColumn:
    """Strings in one buffer: 4 bytes each beside their own UTF-8 (8 above 4 GiB)."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        encoded = [text.encode(*CODE) for text in texts]
        self._hold(
            np.frombuffer(b"".join(encoded), np.uint8),
            np.fromiter(accumulate(map(len, encoded), initial=0), np.int64, len(encoded) + 1),
        )

    def _hold(self, buffer: np.ndarray, ends: np.ndarray) -> None:
        self._buffer, self._ends = buffer, ends.astype(np.uint32) if len(buffer) < 2**32 else ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        k = range(len(self))[index]
        return str(self._buffer[self._ends[k] : self._ends[k + 1]].tobytes(), *CODE)

    def __iter__(self) -> Iterator[str]:
        whole, ends = self._buffer.tobytes(), self._ends.tolist()
        return (str(whole[a:b], *CODE) for a, b in pairwise(ends))

    def take(self, places: np.ndarray) -> StringColumn:
        """The texts at (n,) `places`, in their order."""
        starts, sizes = self._ends[places].astype(np.int64), np.diff(self._ends.astype(np.int64))[places]
        ends = np.concatenate([[0], np.cumsum(sizes)])
        taken = StringColumn()
        taken._hold(self._buffer[np.arange(ends[-1]) + np.repeat(starts - ends[:-1], sizes)], ends)
        return taken

    @property
    def nbytes(self) -> int:
        return self._buffer.nbytes + self._ends.nbytes


class CategoricalColumn:
    """Strings that repeat, such as patients: each kept once, and a number for every row."""

    def __init__(self, texts: Iterable[str]) -> None:
        listed = texts if isinstance(texts, Sequence) else list(texts)
        index = {text: k for k, text in enumerate(dict.fromkeys(listed))}
        self.codes = np.fromiter(map(index.__getitem__, listed), np.uint32, len(listed))
        self.names = StringColumn(index)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> str:
        return self.names[int(self.codes[index])]

    def __iter__(self) -> Iterator[str]:
        return map(list(self.names).__getitem__, self.codes.tolist())

    def take(self, places: np.ndarray) -> CategoricalColumn:
        taken = CategoricalColumn(())
        taken.codes, taken.names = self.codes[places], self.names
        return taken

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.names.nbytes


class FileColumn:
    """A file per image: folders, each kept once, and names; ids that are the ends of all paths are not kept twice."""

    def __init__(self, paths: Iterable[str | Path], ids: StringColumn | None = None) -> None:
        texts = [os.fspath(path) for path in paths]
        names = list(ids) if ids is not None and len(ids) == len(texts) else None
        if ids is not None and names is not None and all(map(str.endswith, texts, (os.sep + name for name in names))):
            self._names = ids
            folders = CategoricalColumn(text[: -len(name) - 1] for text, name in zip(texts, names, strict=True))
        else:
            pairs = [text.rpartition(os.sep) for text in texts]
            self._names = StringColumn(name for _, _, name in pairs)
            folders = CategoricalColumn(folder + separator for folder, separator, _ in pairs)
        self._folders = [f or os.curdir for f in folders.names]
        self._folder = folders.codes.astype(np.min_scalar_type(len(folders.names)))

    def __len__(self) -> int:
        return len(self._folder)

    def __getitem__(self, index: int) -> Path:
        return Path(self._folders[int(self._folder[index])], self._names[index])

    def __iter__(self) -> Iterator[Path]:
        return (Path(self._folders[k], name) for k, name in zip(self._folder.tolist(), self._names, strict=True))

    def take(self, places: np.ndarray) -> FileColumn:
        taken = FileColumn(())
        taken._folders, taken._folder, taken._names = self._folders, self._folder[places], self._names.take(places)
        return taken

    @property
    def nbytes(self) -> int:
        return self._folder.nbytes + self._names.nbytes


class ByteRangeColumn:
    """Stretches of larger files.

    Args:
        files: the larger files.
        which: (N,) index into `files`.
        offsets, sizes: (N,) bytes.
        split: (N,) bool: the record is in several parts (see recordio); default: none is.
        crcs: (N,) CRC-32 of each, -1 where nobody wrote it down; default: nowhere.
    """

    def __init__(
        self,
        files: Sequence[Path],
        which: np.ndarray,
        offsets: np.ndarray,
        sizes: np.ndarray,
        split: np.ndarray | None = None,
        crcs: np.ndarray | None = None,
    ) -> None:
        self._files, self._which = list(files), np.asarray(which, np.min_scalar_type(len(files)))
        self._offsets, self._sizes = np.asarray(offsets, np.int64), np.asarray(sizes, np.uint32)
        self._split = np.zeros(len(self._offsets), bool) if split is None else np.asarray(split, bool)
        self._crcs = None if crcs is None else np.asarray(crcs, np.int64)

    @classmethod
    def of(cls, ranges: Sequence[ByteRange]) -> ByteRangeColumn:
        """The column of these ranges."""
        files = {path: k for k, path in enumerate(dict.fromkeys(r.path for r in ranges))}
        crcs = [-1 if r.crc32 is None else r.crc32 for r in ranges]
        rows = [(files[r.path], r.offset, r.size, isinstance(r, SplitRecord)) for r in ranges]
        which, offsets, sizes, split = np.array(rows, np.int64).reshape(-1, 4).T
        known = np.array(crcs) if any(crc >= 0 for crc in crcs) else None
        return cls(list(files), which, offsets, sizes, split, known)

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> ByteRange:
        kind = SplitRecord if self._split[index] else ByteRange
        crc = -1 if self._crcs is None else int(self._crcs[index])
        place = self._files[self._which[index]], int(self._offsets[index]), int(self._sizes[index])
        return kind(*place, None if crc < 0 else crc)

    def __iter__(self) -> Iterator[ByteRange]:
        return (self[k] for k in range(len(self)))

    @property
    def columns(self) -> tuple[list[Path], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(files, which, offsets, sizes, split), as they were given; not to be changed."""
        return self._files, self._which, self._offsets, self._sizes, self._split

    def take(self, places: np.ndarray) -> ByteRangeColumn:
        files, *columns = self.columns
        which, offsets, sizes, split = (column[places] for column in columns)
        crcs = None if self._crcs is None else self._crcs[places]
        return ByteRangeColumn(files, which, offsets, sizes, split, crcs)

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self.columns[1:]) + (0 if self._crcs is None else self._crcs.nbytes)


def pack(sources: Sources | Sequence[Source], ids: StringColumn) -> Sources:
    """A column of any sources; all are files of their own, or all are ranges."""
    if isinstance(sources, FileColumn | ByteRangeColumn):
        return sources
    listed = list(sources)
    if any(isinstance(source, ByteRange) for source in listed):
        return ByteRangeColumn.of(cast(list[ByteRange], listed))
    return FileColumn(cast(list[Path], listed), ids)
