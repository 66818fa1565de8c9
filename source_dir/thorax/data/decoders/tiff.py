"""TIFF with one page of 1, 8, 12 or 16 bits, by Pillow and libtiff."""

from __future__ import annotations

import io
import sys
from functools import partial
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TILELENGTH, TILEWIDTH

from thorax.data.decoders.limits import (
    GRAY,
    GREY,
    RGB,
    Header,
    ImageFormat,
    Scaled,
    UnsupportedImage,
    check_size,
    full_scale,
    grey_table,
    resized,
)
from thorax.data.decoders.raster import from_16_bits, to_channels

_WHITE_IS_ZERO = 0


def header(file: BinaryIO) -> Header:
    """What the tags say."""
    with Image.open(file, formats=("TIFF",)) as image:
        bits = _checked(image)
        return Header("TIFF", *image.size, "L" if image.mode.startswith("I;16") else image.mode, bits)


def decode(data: bytes, scaled: Scaled | None, grey: int = GREY, color: str = GRAY) -> np.ndarray:
    """(h, w) uint8, in colour (h, w, 3) of what is not grey.

    Samples of 12 bits use their full range, of 16 bits the range that full_scale finds.
    """
    with _opened(data) as image:
        bits = _checked(image)
        inverted = image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO  # type: ignore[attr-defined]
        target = scaled(*image.size) if scaled is not None else None
        deep = grey > 1 and bits == 16 and image.mode in ("RGB", "RGBA")
        if deep:
            return np.asarray(resized(from_16_bits(*_high_and_low(data), color), target))
        image.load()  # turns it upright, too
        if image.mode.startswith("I;16"):
            samples = np.asarray(image).astype(np.uint16, copy=False)
            table = grey_table((1 << bits) - 1 if bits < 16 else full_scale(samples, grey))
            channels = Image.fromarray((255 - table if inverted else table)[samples])  # Pillow inverts 1 and 8 bits
        else:
            channels = to_channels(image, GREY, color)
        return np.asarray(resized(channels, target, grey))


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=("TIFF",))


def _high_and_low(data: bytes) -> tuple[Image.Image, Image.Image]:
    """The bytes of 16-bit colours: Pillow keeps the high one of each sample, so the low one is read as the high one of
    the other order of bytes."""
    found = []
    for swapped in (False, True):
        with _opened(data) as image:
            if swapped:
                tiles = image.tile  # type: ignore[attr-defined]
                image.tile = [tile._replace(args=(_swapped(tile.args[0]), *tile.args[1:])) for tile in tiles]  # type: ignore[attr-defined]
            image.load()
            found.append(image.copy())
    return found[0], found[1]


def _swapped(raw: str) -> str:
    """The raw mode with the other order of bytes; raises UnsupportedImage where there is none."""
    other = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    if not raw.endswith((";16B", ";16L", ";16N")) or "a" in raw:
        raise UnsupportedImage(f"its colours of 16 bits lie as {raw}, which is not read; convert it to 8 bits")
    return raw[:-1] + other[raw[-1]]


def _checked(image: Image.Image) -> int:
    """Bits of a sample; raises UnsupportedImage for an image that is too large or has no known range."""
    check_size(*image.size)
    tags = image.tag_v2  # type: ignore[attr-defined]
    tile = (int(tags.get(TILEWIDTH, 1)), int(tags.get(TILELENGTH, 1)))
    check_size(*tile)
    bits = int(max(tags.get(BITSPERSAMPLE, (1,))))
    if image.mode in ("F", "I"):
        kind = "floating-point" if image.mode == "F" else "signed or 32-bit"
        raise UnsupportedImage(f"it has {kind} samples, with no known black and white; convert it to 8 or 16 bits")
    first = image.tell()
    try:
        image.seek(first + 1)
    except EOFError:
        image.seek(first)
        return bits
    raise UnsupportedImage("it has several pages; write each as a file of its own")


_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and BigTIFF, little- and big-endian
TIFF = ImageFormat(
    "TIFF",
    _MAGIC,
    (".tif", ".tiff"),
    "image/tiff",
    header,
    decode,
    earlier=partial(decode, grey=1),
    colored=partial(decode, color=RGB),
)
