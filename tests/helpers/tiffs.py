"""TIFFs of 16-bit colours, uncompressed or packed by deflate, in either order of bytes: Pillow writes none."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def colour(samples: np.ndarray, order: str = "<", packed: bool = False) -> bytes:
    """A TIFF of one strip of (h, w, 3 or 4) uint16 samples; the fourth is unassociated alpha."""
    height, width, channels = samples.shape
    rows = samples.astype(f"{order}u2").tobytes()
    rows = zlib.compress(rows) if packed else rows
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, 8), (259, 4, 1, 8 if packed else 1)]
    entries += [(262, 4, 1, 2), (273, 4, 1, 16), (277, 4, 1, channels), (278, 4, 1, height), (279, 4, 1, len(rows))]
    if channels == 4:
        entries.append((338, 4, 1, 2))
    directory = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    at = 16 + len(rows) + len(rows) % 2
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at)
    count = struct.pack(f"{order}H", len(entries))
    return head + bits.ljust(8, b"\0") + rows.ljust(at - 16, b"\0") + count + directory + bytes(4)
