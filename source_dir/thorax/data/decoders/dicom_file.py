"""DICOM files as they lie on disk: with or without preamble and transfer syntax, deflated or not."""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

from thorax.data.decoders.limits import FIRST, MAX_BYTES

EXPLICIT, IMPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
PREAMBLE = bytes(128) + b"DICM"
#: Bytes that a deflated header may have, and what may follow the pixels.
HEADER, REST = 2**22, 2**20
#: Groups that a data set may begin with: file meta information, and identification.
_META, _IDENTIFYING = 2, 8
#: First bytes of files without a preamble; not all that begin so are.
WITHOUT_PREAMBLE = tuple(struct.pack("<H", group) for group in (_META, _IDENTIFYING))
_VRS = frozenset(b"AE AS AT CS DA DS DT IS LO LT OB OW PN SH SQ ST TM UC UI UL UN UR US UT".split())
_LONG = frozenset(b"OB OW SQ UC UN UR UT".split())


def resembles_dicom(first: bytes) -> bool:
    """Whether the first bytes of a file without the mark DICM are two or more elements of a data set."""
    at, last, found = 0, -1, 0
    while at + 8 <= len(first):
        group, element = struct.unpack("<HH", first[at : at + 4])
        tag = group << 16 | element
        if group not in (_META, _IDENTIFYING) or element > 0x3000 or tag <= last:
            break
        vr = first[at + 4 : at + 6]
        explicit, size = vr in _VRS, 12 if vr in _LONG else 8
        field = (
            first[at + 8 : at + 12] if size == 12 else first[at + 6 : at + 8] if explicit else first[at + 4 : at + 8]
        )
        length = int.from_bytes(field, "little")
        if length % 2 or length > 1024 or (group == _META and not explicit):
            break
        at, last, found = at + size + length, tag, found + 1
    return found >= 2 or (found == 1 and at >= len(first))


def with_preamble(file: BinaryIO) -> BinaryIO:
    """The file from its start, or a copy in memory with the preamble and the transfer syntax that it lacks."""
    file.seek(0)
    first = file.read(FIRST)
    file.seek(0)
    if first[128:132] == b"DICM" or not resembles_dicom(first):
        return file
    return io.BytesIO(_headed(file.read(MAX_BYTES)))


def inflated(file: BinaryIO, start: int, pixel_bytes: int) -> BinaryIO:
    """A copy in memory of a deflated file with its data set as it was: the header, and no more than its pixels need.

    Args:
        file: the whole file.
        start: where the deflated data set begins.
        pixel_bytes: bytes of its pixels; 0: they are not wanted.

    Raises:
        zlib.error: it is damaged.
    """
    file.seek(start)
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    data_set = stream.decompress(file.read(MAX_BYTES), HEADER + pixel_bytes + (REST if pixel_bytes else 0))
    return io.BytesIO(PREAMBLE + _syntax(EXPLICIT) + data_set)


def _headed(data: bytes) -> bytes:
    if data[:2] == b"\x02\0":
        return PREAMBLE + data
    return PREAMBLE + _syntax(EXPLICIT if data[4:6] in _VRS else IMPLICIT) + data


def _syntax(uid: str) -> bytes:
    """The element that names a transfer syntax."""
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return b"\x02\0\x10\0UI" + struct.pack("<H", len(value)) + value
