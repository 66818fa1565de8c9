"""Where the bytes of an image are: a file of its own, or a stretch of a larger one (a RecordIO file, a tar shard)."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from thorax.errors import ThoraxError


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`size` bytes of the file at `path`, from byte `offset` on.

    Reads share no file position, so any number of processes and threads may read one file at once.

    Attributes:
        crc32: of the bytes, as they were written; None where nobody wrote it down.
    """

    path: Path
    offset: int
    size: int
    crc32: int | None = None

    def __str__(self) -> str:
        return f"{self.path} at byte {self.offset}"

    def read(self) -> bytes:
        """The bytes, all of them.

        Raises:
            ThoraxError: the file cannot be opened, ends before the range does, or holds other bytes than were written.
        """
        return self.checked(self.unchecked())

    def checked(self, data: bytes) -> bytes:
        """These bytes of the range; raises ThoraxError where they are not those that were written."""
        if self.crc32 is not None and (found := zlib.crc32(data)) != self.crc32:
            raise ThoraxError(
                f"{self} is damaged: its bytes have the CRC-32 {found:08x}, {self.crc32:08x} when they were written;"
                " copy or pack the file again"
            )
        return data

    def unchecked(self) -> bytes:
        """The bytes, whatever they are; raises as `read`."""
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
