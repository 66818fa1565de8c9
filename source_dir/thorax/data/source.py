"""Where the bytes of an image are: a file of its own, or a stretch of a larger one (a RecordIO file, a tar shard)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from thorax.errors import ThoraxError


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`size` bytes of the file at `path`, from byte `offset` on.

    Reads share no file position, so any number of processes and threads may read one file at once.
    """

    path: Path
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.path} at byte {self.offset}"

    def read(self) -> bytes:
        """The bytes, all of them.

        Raises:
            ThoraxError: the file cannot be opened, or ends before the range does.
        """
        try:
            file = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            try:
                data = read_at(file, self.size, self.offset)
            finally:
                os.close(file)
        except (OSError, OverflowError, ValueError) as error:
            raise ThoraxError(f"{self} cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if len(data) < self.size:
            raise ThoraxError(f"{self} is cut short: {self.size} bytes are announced, {len(data)} are there")
        return data

    def head(self, size: int) -> bytes:
        """The first bytes, at most `size`; raises as `read`."""
        return ByteRange(self.path, self.offset, min(size, self.size)).read()


def read_at(file: int, size: int, offset: int) -> bytes:
    """`size` bytes of an open file from `offset` on, or fewer where it ends before; raises OSError."""
    data = os.pread(file, size, offset)
    while len(data) < size and (more := os.pread(file, size - len(data), offset + len(data))):
        data += more
    return data


Source: TypeAlias = Path | ByteRange
