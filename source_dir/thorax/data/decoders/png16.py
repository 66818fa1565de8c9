"""PNG of 16 bits with colours or transparency: Pillow has no mode for it and keeps the high byte alone.

Its decoder is asked for the two bytes of each sample one after the other; of grey with alpha, for all four at once.
"""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from thorax.data.decoders.limits import UnsupportedImage, check_size

#: Colour types of ISO/IEC 15948 table 11.1, and Pillow's modes for the high and the low bytes of their samples.
_COLOUR, _GREY_ALPHA, _COLOUR_ALPHA = 2, 4, 6
_MODES = {_COLOUR: ("RGB", "RGB;16B", "RGB;16L"), _COLOUR_ALPHA: ("RGBA", "RGBA;16B", "RGBA;16L")}


def is_png16(data: bytes) -> bool:
    """Whether these are the first bytes of a PNG of 16 bits with colours or transparency."""
    return data.startswith(b"\x89PNG") and len(data) > 33 and data[24] == 16 and data[25] in (*_MODES, _GREY_ALPHA)


def high_and_low(data: bytes) -> tuple[Image.Image, Image.Image]:
    """The high and the low bytes of its samples: two images of 2 (LA), 3 (RGB) or 4 channels (RGBA).

    Raises:
        UnsupportedImage: damaged, cut short, or too large.
        ValueError, OSError: as above, from Pillow.
    """
    width, height, _, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    check_size(width, height)
    packed = b"".join(_image_data(data))
    if kind == _GREY_ALPHA:
        four = Image.frombytes("RGBA", (width, height), packed, "zip", "RGBA", interlaced)
        high, low, *alpha = four.split()
        return Image.merge("LA", (high, alpha[0])), Image.merge("LA", (low, alpha[1]))
    mode, *raw = _MODES[kind]
    first, second = (Image.frombytes(mode, (width, height), packed, "zip", name, interlaced) for name in raw)
    return first, second


def _image_data(data: bytes) -> list[bytes]:
    """The contents of the IDAT chunks."""
    found, at = [], 8
    while at + 12 <= len(data):
        (length,), name = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        if name == b"IEND":
            break
        if name in (b"IHDR", b"IDAT"):
            if data[at + 8 + length : at + 12 + length] != struct.pack(">I", zlib.crc32(name + body)):
                raise UnsupportedImage("it is damaged or cut short: a chunk is not what its checksum says")
            if name == b"IDAT":
                found.append(body)
        at += 12 + length
    return found
