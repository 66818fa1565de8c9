"""Binary PGM ("P5"): grey levels as they are. Nothing is read faster; `prepare.py pack --encode raw` writes it."""

from __future__ import annotations

import re
from functools import partial
from typing import BinaryIO

import numpy as np
from PIL import Image

from thorax.data.decoders.limits import (
    GREY,
    Header,
    ImageFormat,
    Scaled,
    UnsupportedImage,
    check_size,
    grey_table,
    resized,
)

_SPACE = rb"(?:[ \t\r\n]|#[^\r\n]*[\r\n])+"
_HEAD = re.compile(rb"P5" + _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,5})[ \t\r\n]")
_LONGEST_HEAD = 4096


def header(file: BinaryIO) -> Header:
    """What the header says."""
    width, height, white, _ = _head(file.read(_LONGEST_HEAD))
    return Header("PGM", width, height, "L", 8 if white < 256 else 16)


def decode(data: bytes, scaled: Scaled | None, grey: int = GREY) -> np.ndarray:
    """(h, w) uint8; the header says which sample is white."""
    width, height, white, start = _head(data[:_LONGEST_HEAD])
    kind = np.dtype(np.uint8 if white < 256 else ">u2")
    if len(data) - start < width * height * kind.itemsize:
        raise UnsupportedImage(
            f"it is cut short: {width}x{height} pixels are announced, {(len(data) - start) // kind.itemsize} are there"
        )
    image = np.frombuffer(data, kind, width * height, start).reshape(height, width)
    if white != 255:
        image = grey_table(white)[image]
    target = scaled(width, height) if scaled is not None else None
    return image if target in (None, (width, height)) else np.asarray(resized(Image.fromarray(image), target, grey))


def _head(data: bytes) -> tuple[int, int, int, int]:
    """(width, height, white, where the pixels begin)."""
    found = _HEAD.match(data)
    if not found:
        raise UnsupportedImage("its header is damaged")
    width, height, white = map(int, found.groups())
    check_size(width, height)
    if not 0 < white < 65536:
        raise UnsupportedImage(f"its white is {white}, out of 1 to 65535")
    return width, height, white, found.end()


PGM = ImageFormat(
    "PGM", (b"P5\n", b"P5 "), (".pgm",), "image/x-portable-graymap", header, decode, earlier=partial(decode, grey=1)
)
