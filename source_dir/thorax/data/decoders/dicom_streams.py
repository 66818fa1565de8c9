"""Compressed images in DICOM, checked before a decoder sees them: their size is that of the header."""

from __future__ import annotations

import struct
from typing import Any

from thorax.data.decoders.limits import UnsupportedImage

JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{k}" for k in (90, 91, 201, 202, 203))


def check_rle(frame: bytes, pixels: int) -> None:
    """Raises UnsupportedImage where a segment unpacks to more than a byte a pixel (PS3.5 annex G): pydicom would
    unpack all of it."""
    if len(frame) < 64 or len(frame) > 12 * pixels + 4096:
        raise UnsupportedImage(f"its run lengths take {len(frame)} bytes for {pixels} pixels")
    starts = struct.unpack("<16L", frame[:64])
    ends = [*starts[2 : starts[0] + 1], len(frame)]
    for start, end in zip(starts[1:], ends, strict=False):
        at, unpacked = start, 0
        while at < end and unpacked <= pixels + 256:
            code = frame[at]
            if code > 128:
                at, unpacked = at + 2, unpacked + 257 - code
            elif code < 128:
                at, unpacked = at + 2 + code, unpacked + code + 1
            else:
                at += 1
        if unpacked > pixels + 256:
            raise UnsupportedImage(f"its run lengths unpack to more than {pixels} pixels")


def checked_stream(frame: bytes, dataset: Any, syntax: str) -> bytes:
    """A JPEG, JPEG-LS or JPEG 2000 stream with the size that the data set says; a JP2 box around it is taken off.

    Markers of ISO/IEC 10918-1 B.1.1 (SOF0..15 without DHT, JPG, DAC; SOF55 of JPEG-LS) and 15444-1 A.5.1.
    """
    claimed: tuple[int, ...] = ()
    if syntax in JPEG_2000:
        if (start := frame.find(b"\xff\x4f\xff\x51")) >= 0 and len(frame) > start + 43:
            frame = frame[start:]
            right, bottom, left, top = struct.unpack(">4L", frame[8:24])
            claimed = right - left, bottom - top, int.from_bytes(frame[40:42], "big"), (frame[42] & 127) + 1
    else:
        at = 2
        while not claimed and at + 10 <= len(frame) and frame[at] == 0xFF:
            marker, length = frame[at + 1], struct.unpack(">H", frame[at + 2 : at + 4])[0]
            if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
                bits, height, width, samples = struct.unpack(">BHHB", frame[at + 4 : at + 10])
                claimed = width, height, samples, bits
            at += 1 if marker == 0xFF else 2 + length
    if not claimed:
        raise UnsupportedImage("its compressed image has no size")
    wanted = int(dataset.Columns), int(dataset.Rows), int(dataset.SamplesPerPixel)
    if claimed[:3] != wanted:
        raise UnsupportedImage(
            f"its header says {wanted[0]}x{wanted[1]} pixels of {wanted[2]} samples, its compressed image"
            f" {claimed[0]}x{claimed[1]} of {claimed[2]}"
        )
    if not 2 <= claimed[3] <= int(dataset.BitsAllocated):
        raise UnsupportedImage(
            f"its compressed image has {claimed[3]} bits a sample, its header {dataset.BitsAllocated}"
        )
    return frame
