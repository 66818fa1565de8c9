"""PNGs of 16 bits in every colour type, plain or interlaced: Pillow writes grey ones alone."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
#: Adam7: first row and column, and steps of each pass.
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def png16(samples: np.ndarray, interlaced: bool = False) -> bytes:
    """A PNG of (h, w, 1 to 4) uint16 samples: grey, grey and alpha, RGB, RGB and alpha. Rows are filtered as Up, Sub
    and None in turn."""
    height, width, channels = samples.shape
    pieces = [samples[top::down, left::right] for top, left, down, right in _PASSES] if interlaced else [samples]
    packed = zlib.compress(b"".join(_rows(piece) for piece in pieces if piece.size))
    head = struct.pack(">IIBBBBB", width, height, 16, _TYPES[channels], 0, 0, int(interlaced))
    chunks = [(b"IHDR", head), (b"IDAT", packed[:50]), (b"IDAT", packed[50:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _rows(samples: np.ndarray) -> bytes:
    lines = samples.astype(">u2").reshape(len(samples), -1).view(np.uint8)
    size, out, above = 2 * samples.shape[2], b"", np.zeros_like(lines[0])
    for k, line in enumerate(lines):
        kind = (2, 1, 0)[k % 3]
        left = np.concatenate([np.zeros(size, np.uint8), line[:-size]])
        out += bytes([kind]) + (line - (above if kind == 2 else left if kind == 1 else 0)).tobytes()
        above = line
    return out


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
