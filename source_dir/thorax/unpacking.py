"""Packed files of strangers (gzip, npz, tar) in bounded time and memory: a small file may unpack to a disk full.

A file may unpack to FLOOR bytes, or to RATIO times its own size if that is more; `THORAX_MAX_UNPACKED` (in MB) is the
limit instead where it is set, for files that really are so large.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from thorax.errors import ThoraxError
from thorax.job import environment
from thorax.text import size

SETTING = "THORAX_MAX_UNPACKED"
FLOOR, RATIO = 16 << 20, 100
#: Members that an .npz may have.
MEMBERS = 10_000


def most_bytes(packed: int) -> int:
    """Bytes that a file of so many bytes may unpack to.

    Raises:
        ThoraxError: THORAX_MAX_UNPACKED is no number of MB.
    """
    text = environment().get(SETTING, "").strip()
    if not text:
        return max(FLOOR, RATIO * packed)
    if not text.isdecimal() or len(text) > 9:
        raise ThoraxError(f"{SETTING}={text} must be a whole number of MB, such as 20000; correct it or leave it out")
    return int(text) * 1_000_000


def check_size(file: object, unpacked: int, most: int) -> None:
    """Raises ThoraxError where a file unpacks to more bytes than it may."""
    if unpacked > most:
        raise ThoraxError(
            f"{file} unpacks to more than {size(most)}, as no honest file of its size does; unpack it yourself, or"
            f" set {SETTING} to the MB that it may have"
        )


class Unpacked(io.RawIOBase):
    """The content of a gzip file, read forward or sought in; reading stops where the file unpacks to too much.

    Args:
        packed: the file, at its start; it is closed with this one.
        file: what to call it in errors.
    """

    def __init__(self, packed: BinaryIO, file: object) -> None:
        self._packed, self._file, self._stream = packed, file, gzip.GzipFile(fileobj=packed)
        self._setting = bool(environment().get(SETTING, "").strip())
        whole = packed.seek(0, io.SEEK_END)
        packed.seek(0)
        self._most = most_bytes(whole)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        # By what is read so far, so that a bomb in a large file is told at its first 16 MiB.
        most = self._most if self._setting else max(FLOOR, RATIO * self._packed.tell())
        check_size(self._file, self._stream.tell(), most)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._stream.tell()
        check_size(self._file, offset, self._most)
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        self._stream.close()
        self._packed.close()
        super().close()


def gunzipped(data: bytes, file: object) -> bytes:
    """The bytes, unpacked where they are gzip.

    Raises:
        ThoraxError: they unpack to too much, or are damaged.
    """
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        with Unpacked(io.BytesIO(data), file) as stream:
            return stream.readall() or b""
    except (OSError, EOFError, zlib.error) as error:
        raise ThoraxError(f"{file} is no gzip file that can be unpacked: {error}") from None


def npz_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz, each as large as its own header says and no larger than the file may hold.

    Raises:
        ThoraxError: it unpacks to too much.
        ValueError: arrays of objects, or a header that does not fit its array.
        OSError, zipfile.BadZipFile: it is no such file, or it is damaged.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > MEMBERS:
            raise ValueError(f"it has {len(entries)} members")
        check_size(file, sum(entry.file_size for entry in entries), most_bytes(file.stat().st_size))
        return {entry.filename.removesuffix(".npy"): _npy(archive, entry) for entry in entries}


def _npy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    try:
        data = archive.read(entry)
    except (zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error) as error:
        raise ValueError(f"{entry.filename} cannot be unpacked: {error}") from None
    return read_npy(data, entry.filename)


def read_npy(data: bytes, name: str) -> np.ndarray:
    """The array in the bytes of an .npy; raises ValueError where its header does not fit them, or it holds objects."""
    stream = io.BytesIO(data)
    try:
        major, _ = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError, EOFError) as error:
        raise ValueError(f"{name} is no array: {error}") from None
    if dtype.hasobject:
        raise ValueError(f"{name} is an array of Python objects, which are not unpickled")
    count = 1
    for length in shape:
        count *= length
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"{name} announces the shape {shape} of {dtype} and has {len(data) - stream.tell()} bytes")
    array = np.frombuffer(data, dtype, count, stream.tell()) if count * dtype.itemsize else np.zeros(count, dtype)
    return array.reshape(shape, order="F" if fortran else "C").copy()


class PlainMember(tarfile.TarInfo):
    """A member of a tar; one of a negative size, which would be read round and round, is a damaged header."""

    def _block(self, count: int) -> int:
        if count < 0:
            raise tarfile.HeaderError("a size is negative")
        return super()._block(count)  # type: ignore[misc,no-any-return]


@contextmanager
def open_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    """A tar, perhaps packed with gzip, to read; its members fit the limit and have no holes.

    Raises:
        ThoraxError: it unpacks to too much, or has a member with holes.
        tarfile.TarError, OSError, EOFError, zlib.error: it is no such file, or it is damaged.
    """
    with archive.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        most = most_bytes(archive.stat().st_size)
        stream: Any = io.BufferedReader(Unpacked(file, archive), 1 << 20) if packed else file
        with stream, tarfile.open(fileobj=stream, mode="r:", tarinfo=PlainMember) as tar:
            total = 0
            for member in tar:
                total += member.size
                if member.issparse():
                    raise ThoraxError(f"{archive}: {member.name} has holes (a sparse file); pack it again without them")
                check_size(archive, total, most)
            yield tar
