"""Binary PGM ("P5") and PPM ("P6"): grey levels or colours as they are. Nothing is read faster; `prepare.py pack
--encode raw` writes them."""

from __future__ import annotations

import re
from functools import partial
from typing import BinaryIO

import numpy as np
from PIL import Image

from thorax.data.decoders.limits import (
    GRAY,
    GREY,
    RGB,
    Header,
    ImageFormat,
    Scaled,
    UnsupportedImage,
    check_size,
    grey_table,
    luminance,
    resized,
)

_SPACE = rb"(?:[ \t\r\n]|#[^\r\n]*[\r\n])+"
_HEAD = re.compile(rb"P([56])" + _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,5})[ \t\r\n]")
_LONGEST_HEAD = 4096


def header(file: BinaryIO) -> Header:
    """What the header says."""
    depth, width, height, white, _ = _head(file.read(_LONGEST_HEAD))
    kind, mode = ("PGM", "L") if depth == 1 else ("PPM", "RGB")
    return Header(kind, width, height, mode, 8 if white < 256 else 16)


def decode(data: bytes, scaled: Scaled | None, grey: int = GREY, color: str = GRAY) -> np.ndarray:
    """(h, w) uint8, of PPM in colour (h, w, 3); the header says which sample is white."""
    depth, width, height, white, start = _head(data[:_LONGEST_HEAD])
    kind = np.dtype(np.uint8 if white < 256 else ">u2")
    if len(data) - start < width * height * depth * kind.itemsize:
        there = (len(data) - start) // (depth * kind.itemsize)
        raise UnsupportedImage(f"it is cut short: {width}x{height} pixels are announced, {there} are there")
    image = np.frombuffer(data, kind, width * height * depth, start).reshape(height, width, *[depth] * (depth > 1))
    if depth == 3 and color == GRAY and white > 255:
        image = luminance(image)
    if white != 255:
        image = grey_table(white)[image]
    target = scaled(width, height) if scaled is not None else None
    as_it_is = target in (None, (width, height))
    if as_it_is and (image.ndim == 2 or color == RGB):
        return image
    picture = Image.fromarray(image)
    return np.asarray(resized(picture if image.ndim == 2 or color == RGB else picture.convert("L"), target, grey))


def _head(data: bytes) -> tuple[int, int, int, int, int]:
    """(samples of a pixel, width, height, white, where the pixels begin)."""
    found = _HEAD.match(data)
    if not found:
        raise UnsupportedImage("its header is damaged")
    kind, width, height, white = map(int, found.groups())
    check_size(width, height)
    if not 0 < white < 65536:
        raise UnsupportedImage(f"its white is {white}, out of 1 to 65535")
    return (1 if kind == 5 else 3), width, height, white, found.end()


PGM = ImageFormat(
    "PGM", (b"P5\n", b"P5 "), (".pgm",), "image/x-portable-graymap", header, decode, earlier=partial(decode, grey=1)
)
PPM = ImageFormat(
    "PPM",
    (b"P6\n", b"P6 "),
    (".ppm",),
    "image/x-portable-pixmap",
    header,
    decode,
    earlier=partial(decode, grey=1),
    colored=partial(decode, color=RGB),
)
