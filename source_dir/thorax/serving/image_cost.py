"""What decoding an image costs, by the marks at its beginning and their number; nothing is decoded.

A few hundred kilobytes can be made to cost minutes: scans of a progressive JPEG, a million chunks or strips or tiles.
What is not proven cheap is decoded in a process of its own (decode_pool.py), where time and memory have limits; what is
known to be costly waits there for others of its kind alone.
"""

from __future__ import annotations

import struct

#: Seconds of an image that is decoded at once, at most, and pixels.
CHEAP, PIXELS = 0.12, 16_000_000
#: Seconds of an image that does not wait behind costly ones, at most.
ORDINARY = 1.0
#: Segments before a JPEG's only scan, and chunks of a PNG, at most; real ones have tens, and one for each 8 KiB.
SEGMENTS, CHUNKS = 200, 4096

# Seconds on one core of an AMD EPYC (Zen 4), rounded up: of a sample (a byte of a pixel), a row, a part (a segment, a
# chunk, a strip or a tile), a pixel of a further scan, and a byte of a kind of file that is not looked into.
_SAMPLE, _ROW, _PART, _SCAN, _BYTE = 6e-9, 4e-8, 6e-6, 8e-10, 2e-8
_BASELINE = frozenset({0xC0, 0xC1})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # not the tables in between
#: Bytes in which marks are looked for: there are as many in what follows.
_LOOKED_AT = 2**20
_PNG = b"\x89PNG\r\n\x1a\n"
#: Samples of a pixel by a PNG's colour type.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def is_cheap(data: bytes) -> bool:
    """True for a baseline JPEG and a PNG of ordinary size and make."""
    if data.startswith(b"\xff\xd8\xff"):
        return _is_cheap_jpeg(data)
    return data.startswith(_PNG) and _is_cheap_png(data)


def cost(data: bytes) -> float:
    """Seconds that decoding an image may take, about; of a kind that is not looked into by its size alone.

    A guess that is too low harms nobody: decoding has a time limit.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _cost_of_jpeg(data)
    if data.startswith(_PNG):
        chunks = len(data) / 12 if _count_chunks(data) is None else 0.0
        return _cost_of_png(data) + chunks * _PART
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _cost_of_tiff(data)
    at = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if at >= 0:
        return _cost_of_jpeg2000(data, at)
    return len(data) * _BYTE


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
            if not height or height * width > PIXELS or height * width * components * _SAMPLE > CHEAP:
                return False  # a height of 0 comes after the scan
        elif kind == 0xDA:  # the scan
            return components > 0 and data[at + 4 : at + 5] == bytes([components])
        elif kind == 0xFF or kind < 0xC0 or length < 2:  # filling bytes, and marks that have no place here
            return False
        at += 2 + length
    return False


def _cost_of_jpeg(data: bytes) -> float:
    """By the largest frame, the scans, and the marks of segments that may hold nothing but their length."""
    head, samples = data[:_LOOKED_AT], 0
    for kind in _FRAMES:
        at = head.find(bytes((0xFF, kind)))
        if 0 <= at < len(head) - 10:
            height, width, components = struct.unpack_from(">HHB", head, at + 5)
            samples = max(samples, (height or 65535) * width * min(4, components))
    more = len(data) / len(head)
    scans = head.count(b"\xff\xda") * more
    parts = sum(head.count(bytes((0xFF, kind))) for kind in (0xE0, 0xE1, 0xE2, 0xED, 0xFE, 0xC4, 0xDB)) * more
    return samples * (_SAMPLE + max(0, scans - 3) * _SCAN) + parts * _PART


def _is_cheap_png(data: bytes) -> bool:
    """Whether its header is of an ordinary size, and its chunks are few (PNG specification, 5.3)."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        return False
    width, height = struct.unpack_from(">II", data, 16)
    return width * height <= PIXELS and _cost_of_png(data) <= CHEAP and _count_chunks(data) is not None


def _cost_of_png(data: bytes) -> float:
    """By the bytes of its pixels before they were compressed."""
    if len(data) < 33:
        return 0.0
    width, height, depth, kind = struct.unpack_from(">IIBB", data, 16)
    samples = width * height * _SAMPLES.get(kind, 4) * max(8, depth) / 8
    return float(samples * _SAMPLE + height * _ROW)


def _count_chunks(data: bytes) -> int | None:
    """Its chunks up to the last, or to where it is cut short; None: more than CHUNKS."""
    at = 8
    for k in range(CHUNKS):
        if at + 12 > len(data) or data[at + 4 : at + 8] == b"IEND":
            return k
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return None


def _cost_of_tiff(data: bytes) -> float:
    """By size and number of strips or tiles in the first directory (TIFF 6.0, section 2)."""
    order = "<" if data[:1] == b"I" else ">"
    tags: dict[int, tuple[int, int]] = {}
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, at)
        for k in range(min(entries, 500)):
            tag, kind, number = struct.unpack_from(f"{order}HHI", data, at + 2 + 12 * k)
            (value,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, at + 10 + 12 * k)
            tags[tag] = number, value
    except struct.error:
        return len(data) * _BYTE
    (_, width), (_, height), (_, samples) = (tags.get(tag, (1, 1)) for tag in (256, 257, 277))
    parts = max(tags.get(tag, (0, 0))[0] for tag in (273, 324))
    return float(width * height * min(max(samples, 1), 8) * 2 * _SAMPLE + parts * _PART)


def _cost_of_jpeg2000(data: bytes, at: int) -> float:
    """By size and number of tiles (ITU T.800, A.5.1)."""
    try:
        right, bottom, left, top, wide, high = struct.unpack_from(">6I", data, at + 8)
        (components,) = struct.unpack_from(">H", data, at + 40)
    except struct.error:
        return len(data) * _BYTE
    width, height = max(0, right - left), max(0, bottom - top)
    tiles = width * height / max(1, wide * high)
    return float(width * height * min(max(components, 1), 8) * 8 * _SAMPLE + tiles * 20 * _PART)
