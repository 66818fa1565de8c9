"""MXNet RecordIO (.rec), the format of SageMaker's built-in algorithm: scanned by headers, read by offset, and written.

A file is a row of records, each: magic number, word with kind (3 bits) and length (29 bits), payload, zeros up to a
multiple of 4 bytes. A payload that holds the magic number at a multiple of 4 is cut there into parts (kind 1 first, 2
middle, 3 last; the number itself is left out); kind 0 is a whole record. The payload of an image is 24 bytes of header
(flag, label, id, id2), `flag` further labels, and the image file. Little-endian. Source: dmlc-core's recordio.h and
mxnet.recordio.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from thorax.data.source import ByteRange
from thorax.errors import ThoraxError
from thorax.files import open_whole

MAGIC = b"\x0a\x23\xd7\xce"
LARGEST = 2**29  #: a payload is smaller than this many bytes
_HEAD = struct.Struct("<4sI")
_IMAGE = struct.Struct("<IfQQ")


class Record(NamedTuple):
    """One image of a .rec file.

    Attributes:
        offset: where the record begins, as in the index file.
        id, id2: numbers of the header; `id` is the index in the .lst.
        labels: (1,) or (flag,) float32.
        image: where the image file is.
        head_crc32: of the header and its labels, as they are there, with id2 as 0.
    """

    offset: int
    id: int
    id2: int
    labels: np.ndarray
    image: ByteRange
    head_crc32: int


class SplitRecord(ByteRange):
    """The image of a record in several parts, from the first part's head to the last part's end."""

    __slots__ = ()

    def read(self) -> bytes:
        """The image file, put together.

        Raises:
            ThoraxError: as ByteRange.read, or a part's head is damaged.
        """
        whole = self.unchecked()
        return self.checked(unpack(_joined(self.path, whole, 0, self.offset)[0], str(self))[3])

    def head(self, size: int) -> bytes:
        return self.read()[:size]


def pack(image: bytes, labels: float | Sequence[float] | np.ndarray, id: int, id2: int = 0) -> bytes:
    """The payload of an image: one number as label, or a vector of several (or of one: a list)."""
    if isinstance(labels, int | float):
        return _IMAGE.pack(0, labels, id, id2) + image
    vector = np.asarray(labels, "<f4")
    return _IMAGE.pack(len(vector), 0.0, id, id2) + vector.tobytes() + image


def pack_checked(image: bytes, labels: float | Sequence[float] | np.ndarray, id: int) -> bytes:
    """As `pack`, with the CRC-32 of header and labels, and that of the image, as the two halves of id2, which MXNet and
    the built-in algorithm leave alone."""
    plain = pack(image, labels, id)
    head = plain[: len(plain) - len(image)]
    return plain[: _IMAGE.size - 8] + struct.pack("<II", zlib.crc32(image), zlib.crc32(head)) + plain[_IMAGE.size :]


def with_checksums(records: Sequence[Record]) -> tuple[list[Record], bool]:
    """The records of one file, their images with the checksums that `pack_checked` wrote; and whether it wrote them.

    Raises:
        ThoraxError: a record's header or labels are not those that were written.
    """
    wrong = [record for record in records if record.id2 >> 32 != record.head_crc32]
    if len(wrong) == len(records):  # none has one: id2 is 0, or what somebody else means by it
        return list(records), False
    if wrong:
        where = f"{wrong[0].image.path} is damaged: header or labels of the record at byte {wrong[0].offset}"
        raise ThoraxError(f"{where} are not those that were written; copy or pack the file again")
    return [r._replace(image=replace(r.image, crc32=r.id2 & 0xFFFFFFFF)) for r in records], True


def _head_crc32(head: bytes) -> int:
    """Of an image's header and labels, without what id2 holds."""
    return zlib.crc32(head[: _IMAGE.size - 8] + bytes(8) + head[_IMAGE.size :])


def unpack(payload: bytes | memoryview, name: str) -> tuple[int, int, np.ndarray, bytes]:
    """(id, id2, labels, image file) of an image's payload.

    Raises:
        ThoraxError: it is shorter than its header says; `name` is what to call it.
    """
    if len(payload) < _IMAGE.size:
        raise ThoraxError(f"{name}: a record of {len(payload)} bytes is no image; its header alone has {_IMAGE.size}")
    flag, label, id, id2 = _IMAGE.unpack_from(payload)
    start = _IMAGE.size + 4 * flag
    if len(payload) < start:
        raise ThoraxError(
            f"{name}: a record of {len(payload)} bytes cannot hold the {flag} labels that its header announces"
        )
    vector = np.frombuffer(payload, "<f4", flag, _IMAGE.size) if flag else [label]
    return id, id2, np.array(vector, np.float32), bytes(payload[start:])


def scan(path: Path) -> Iterator[Record]:
    """Every record in order, by its head alone: no image is read.

    Raises:
        ThoraxError: the file is cut short, or a record does not begin with the magic number; with the offset.
    """
    size = path.stat().st_size
    if not size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        at = 0
        while at < size:
            kind, length = _head(path, whole, at, at)
            start = at + _HEAD.size
            if kind:
                payload, end = _joined(path, whole, at, 0)
                id, id2, labels, rest = unpack(payload, f"{path} at byte {at}")
                head = payload[: len(payload) - len(rest)]
                image: ByteRange = SplitRecord(path, at, end - at)
            else:
                end = start + length
                flag = struct.unpack_from("<I", whole, start)[0] if length >= _IMAGE.size else 0
                head = whole[start : min(end, start + _IMAGE.size + 4 * flag)]
                id, id2, labels, _ = unpack(head, f"{path} at byte {at}")
                image = ByteRange(path, start + len(head), length - len(head))
            yield Record(at, id, id2, labels, image, _head_crc32(head))
            at = end + -end % 4


def _head(path: Path, data: bytes | mmap.mmap, at: int, offset: int) -> tuple[int, int]:
    """(kind, length) of the part at `at` in data; `offset` is its place in the file, for errors."""
    if len(data) < at + _HEAD.size:
        raise ThoraxError(
            f"{path} is cut short: the record at byte {offset} has {len(data) - at} bytes of its head's {_HEAD.size}"
        )
    magic, word = _HEAD.unpack_from(data, at)
    if magic != MAGIC:
        found, expected = (f"0x{number[::-1].hex()}" for number in (magic, MAGIC))
        raise ThoraxError(
            f"{path} is no RecordIO file or is damaged: at byte {offset} is {found}, not the magic number {expected}"
        )
    kind, length = word >> 29, word & (LARGEST - 1)
    if kind > 3:
        raise ThoraxError(f"{path} is damaged: the record at byte {offset} is of kind {kind}, which there is not")
    if len(data) < at + _HEAD.size + length:
        there = len(data) - at - _HEAD.size
        raise ThoraxError(
            f"{path} is cut short: the record at byte {offset} announces {length} bytes, {there} are there"
        )
    return kind, length


def _joined(path: Path, data: bytes | mmap.mmap, at: int, shift: int) -> tuple[bytes, int]:
    """(payload, end) of the record that begins at `at`; `shift` + place in data = place in the file."""
    first, parts = True, []
    while True:
        kind, length = _head(path, data, at, at + shift)
        if kind not in ((0, 1) if first else (2, 3)):
            what = "begins" if first else "goes on"
            raise ThoraxError(
                f"{path} is damaged: the record at byte {at + shift} is of kind {kind} where a record {what}"
            )
        end = at + _HEAD.size + length
        parts.append(bytes(data[at + _HEAD.size : end]))
        if kind in (0, 3):
            return MAGIC.join(parts), end
        first, at = False, end + -end % 4


class Writer:
    """Writes a .rec file and, beside it, the .idx that im2rec writes (id, tab, offset). Use it in a `with` block.

    Both appear whole when the block ends well, and not at all when it does not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Writer:
        with ExitStack() as stack:
            self._index = stack.enter_context(open_whole(self._path.with_suffix(".idx"), "RecordIO file"))
            # Ends first: no index without the records.
            self._records = stack.enter_context(open_whole(self._path, "RecordIO file"))
            self._open = stack.pop_all()
        return self

    def write(self, payload: bytes, id: int) -> int:
        """Appends a payload (see `pack`); returns its offset.

        Raises:
            ThoraxError: the payload is too large for the format.
        """
        if len(payload) >= LARGEST:
            raise ThoraxError(f"record {id} has {len(payload)} bytes; RecordIO takes less than {LARGEST}")
        offset = self._records.tell()
        cuts = [found.start() for found in re.finditer(re.escape(MAGIC), payload) if found.start() % 4 == 0]
        starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(payload)]
        for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
            kind = 0 if not cuts else 1 if k == 0 else 3 if k == len(cuts) else 2
            head, zeros = _HEAD.pack(MAGIC, kind << 29 | end - start), bytes(-(end - start) % 4)
            self._records.write(head + payload[start:end] + zeros)
        self._index.write(b"%d\t%d\n" % (id, offset))
        return offset

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises ThoraxError where the disk is full."""
        self._open.__exit__(kind, error, trace)
