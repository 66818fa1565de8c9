"""JPEG and PNG of any mode, by Pillow."""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

from thorax.data.decoders.limits import (
    Header,
    ImageFormat,
    Scaled,
    UnsupportedImage,
    check_size,
    full_scale,
    grey_table,
    resized,
)

KINDS = ("JPEG", "PNG")
#: libjpeg-turbo's advice against progressive JPEGs that repeat themselves for minutes; real ones have about 10.
MAX_SCANS = 500
_OPAQUE = {"1", "L", "RGB", "CMYK", "YCbCr"}
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


def decode(data: bytes, scaled: Scaled | None) -> np.ndarray:
    """(h, w) uint8; EXIF orientation is applied.

    JPEGs are decoded from their luminance alone, at the smallest of libjpeg's scales (1, 1/2, 1/4, 1/8) that is not
    below the wanted size.
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
            image.draft("L", target)
        image.load()
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        grey = resized(to_grey(image), target)
        if orientation != 1:
            grey.getexif()[ExifTags.Base.Orientation] = orientation
            grey = ImageOps.exif_transpose(grey)
        return np.asarray(grey)


def to_grey(image: Image.Image) -> Image.Image:
    """One channel of 8 bits; transparent pixels are put on black."""
    if image.mode.startswith("I"):
        samples = np.asarray(image).astype(np.uint16, copy=False)
        return Image.fromarray(grey_table(full_scale(samples))[samples])
    if image.mode in _OPAQUE:
        return image.convert("L")
    grey = Image.new("L", image.size)
    rows = max(1, 2**20 // image.width)  # in strips, to save memory
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        grey.paste(Image.alpha_composite(Image.new("RGBA", strip.size, (0, 0, 0, 255)), strip).convert("L"), (0, top))
    return grey


JPEG = ImageFormat("JPEG", (b"\xff\xd8\xff",), (".jpg", ".jpeg", ".jpe", ".jfif"), "image/jpeg", header, decode)
PNG = ImageFormat("PNG", (b"\x89PNG\r\n\x1a\n",), (".png",), "image/png", header, decode)
