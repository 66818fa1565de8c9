"""Whether decoding an image is known to be cheap, by the marks at its beginning alone; nothing is decoded.

A few hundred kilobytes can be made to cost minutes: scans of a progressive JPEG, a million chunks or strips or tiles.
What is not proven cheap is decoded in a process of its own (decode_pool.py), where time and memory have limits.
"""

from __future__ import annotations

import struct

#: Pixels of an image that is decoded at once, at most: some 50 ms.
PIXELS = 16_000_000
#: Segments before a JPEG's only scan, and chunks of a PNG, at most; real ones have tens, and one for each 8 KiB.
SEGMENTS, CHUNKS = 200, 4096
_BASELINE = frozenset({0xC0, 0xC1})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # not the tables in between


def is_cheap(data: bytes) -> bool:
    """True for a baseline JPEG and a PNG of ordinary size and make."""
    if data.startswith(b"\xff\xd8\xff"):
        return _is_cheap_jpeg(data)
    return data.startswith(b"\x89PNG\r\n\x1a\n") and _is_cheap_png(data)


def _is_cheap_jpeg(data: bytes) -> bool:
    """Whether the segments up to the first scan are few, and of a baseline frame of ordinary size with all its
    components in that one scan (ITU T.81, annex B)."""
    at, components = 2, 0
    for _ in range(SEGMENTS):
        if data[at : at + 1] != b"\xff" or at + 4 > len(data):
            return False
        kind, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if kind in _FRAMES:
            if kind not in _BASELINE or length < 8 or at + 10 > len(data):
                return False
            height, width, components = struct.unpack_from(">HHB", data, at + 5)
            if height * width > PIXELS or not height:  # a height of 0 comes after the scan
                return False
        elif kind == 0xDA:  # the scan
            return components > 0 and data[at + 4 : at + 5] == bytes([components])
        elif kind == 0xFF or kind < 0xC0 or length < 2:  # filling bytes, and marks that have no place here
            return False
        at += 2 + length
    return False


def _is_cheap_png(data: bytes) -> bool:
    """Whether its header is of an ordinary size, and its chunks are few (PNG specification, 5.3)."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        return False
    width, height = struct.unpack_from(">II", data, 16)
    if width * height > PIXELS:
        return False
    at = 8
    for _ in range(CHUNKS):
        if at + 12 > len(data):
            return True  # cut short: the decoder ends there
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False
