"""JPEG and PNG of any mode, by Pillow."""

from __future__ import annotations

import io
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

from thorax.data.decoders import png16
from thorax.data.decoders.limits import (
    GRAY,
    GREY,
    MARGIN,
    RGB,
    Header,
    ImageFormat,
    Scaled,
    UnsupportedImage,
    check_size,
    counts_of,
    full_scale,
    grey_table,
    luminance,
    resized,
    white_of,
)

KINDS = ("JPEG", "PNG")
#: libjpeg-turbo's advice against progressive JPEGs that repeat themselves for minutes; real ones have about 10.
MAX_SCANS = 500
_OPAQUE = {"1", "L", "RGB", "CMYK", "YCbCr"}
_GREYS = {"1", "L", "LA", "La"}
_TURNED = (5, 6, 7, 8)


def header(file: BinaryIO) -> Header:
    """What the first bytes say; EXIF orientation is applied to width and height."""
    with Image.open(file, formats=KINDS) as image:
        check_size(*image.size)
        kind = "PNG" if image.format == "PNG" else "JPEG"  # Pillow calls a JPEG with several pictures MPO
        bits = 8
        if kind == "PNG":
            file.seek(24)
            bits = file.read(1)[0]
        # getexif() of a PNG would read all of its pixels to look behind them.
        turned = (kind == "JPEG" or "exif" in image.info) and image.getexif().get(
            ExifTags.Base.Orientation, 1
        ) in _TURNED
        width, height = reversed(image.size) if turned else image.size
        return Header(kind, width, height, "L" if image.mode.startswith("I") else image.mode, bits)


def decode(data: bytes, scaled: Scaled | None, grey: int = GREY, color: str = GRAY) -> np.ndarray:
    """(h, w) uint8, in colour (h, w, 3) of what is not grey; EXIF orientation is applied.

    JPEGs are decoded, for grey from their luminance alone, at the smallest of libjpeg's scales (1, 1/2, 1/4, 1/8) that
    is at least MARGIN times the wanted size: a JPEG gives what its pixels give as a PNG (by GREY 1: not below that
    size).
    PNGs of 16 bits with colours keep their depth (by GREY 1: the high byte).
    """
    with Image.open(io.BytesIO(data), formats=KINDS) as image:
        check_size(*image.size)
        # Of a grey baseline JPEG libjpeg reads one scan and no more; counting the scans of others takes a while.
        once = image.mode == "L" and "progressive" not in image.info
        if image.format != "PNG" and not once and data.count(b"\xff\xda") > MAX_SCANS:
            raise UnsupportedImage(f"it has more than {MAX_SCANS} progressive scans")
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED
        target = None
        if scaled is not None:
            width, height = scaled(*(reversed(image.size) if turned else image.size))
            target = (height, width) if turned else (width, height)
            least = (MARGIN * target[0], MARGIN * target[1]) if grey > 1 else target
            image.draft("L" if color == GRAY else "RGB", least)
        if grey > 1 and png16.is_png16(data):
            channels = from_16_bits(*png16.high_and_low(data), color)
        else:
            image.load()
            channels = to_channels(image, grey, color)
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        channels = resized(channels, target, grey)
        if orientation != 1:
            channels.getexif()[ExifTags.Base.Orientation] = orientation
            channels = ImageOps.exif_transpose(channels)
        return np.asarray(channels)


def from_16_bits(high: Image.Image, low: Image.Image, color: str = GRAY) -> Image.Image:
    """Channels of 8 bits, of the high and the low bytes of 16: two images of mode LA, RGB or RGBA.

    The white is that of all colours together; transparent pixels are put on black.
    """
    colored = color == RGB and high.mode != "LA"
    found = np.empty((high.height, high.width, 3) if colored else (high.height, high.width), np.uint16)
    counts = np.zeros(65536, np.int64)
    rows = max(1, 2**18 // high.width)  # in strips, to save memory
    for top in range(0, high.height, rows):
        area = (0, top, high.width, min(top + rows, high.height))
        samples = np.asarray(high.crop(area)).astype(np.uint16) << 8 | np.asarray(low.crop(area))
        colours = samples[..., : 1 if high.mode == "LA" else 3]
        counts += counts_of(colours)
        strip = colours if colored else luminance(colours) if colours.shape[2] == 3 else colours[..., 0]
        if high.mode != "RGB":
            alpha = samples[..., -1:] if colored else samples[..., -1]
            strip = strip.astype(np.uint32) * alpha // 65535
        found[top : area[3]] = strip
    return Image.fromarray(grey_table(white_of(counts))[found])


def to_channels(image: Image.Image, grey: int = GREY, color: str = GRAY) -> Image.Image:
    """Mode L, or in colour RGB (of grey images L too), of an image of 1 or 8 bits, or grey of 16; transparent pixels
    are put on black."""
    if image.mode.startswith("I"):
        samples = np.asarray(image).astype(np.uint16, copy=False)
        return Image.fromarray(grey_table(full_scale(samples, grey))[samples])
    mode = "L" if color == GRAY or image.mode in _GREYS else "RGB"
    if image.mode in _OPAQUE:
        return image.convert(mode)
    black = Image.new(mode, image.size)
    rows = max(1, 2**20 // image.width)  # in strips, to save memory
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        black.paste(Image.alpha_composite(Image.new("RGBA", strip.size, (0, 0, 0, 255)), strip).convert(mode), (0, top))
    return black


_RULES: Any = {"header": header, "decode": decode, "earlier": partial(decode, grey=1)}
_RULES["colored"] = partial(decode, color=RGB)
JPEG = ImageFormat("JPEG", (b"\xff\xd8\xff",), (".jpg", ".jpeg", ".jpe", ".jfif"), "image/jpeg", **_RULES)
PNG = ImageFormat("PNG", (b"\x89PNG\r\n\x1a\n",), (".png",), "image/png", **_RULES)
