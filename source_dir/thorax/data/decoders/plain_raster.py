"""BMP, GIF, WebP and JPEG 2000 outside DICOM, by Pillow: one picture a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
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
    resized,
)
from thorax.data.decoders.raster import to_channels

#: Sizes of the second header of a BMP, in bytes.
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "I;16", "CMYK", "YCbCr"})


class _Bmp(ImageFormat):
    """Two letters are a weak mark: the reserved zeros and the size of the second header are asked for too."""

    def matches(self, first: bytes) -> bool:
        size = int.from_bytes(first[14:18], "little")
        return first.startswith(self.magic) and first[6:10] == bytes(4) and size in _BMP_HEADERS


@dataclass(frozen=True)
class _WebP(ImageFormat):
    """WEBP within RIFF."""

    def matches(self, first: bytes) -> bool:
        return first.startswith(b"RIFF") and super().matches(first)


def _header(kind: str, pillow: tuple[str, ...]) -> Callable[[BinaryIO], Header]:
    def read(file: BinaryIO) -> Header:
        with Image.open(file, formats=pillow) as image:
            _check(image)
            deep = image.mode.startswith("I")
            return Header(kind, *image.size, "L" if deep else image.mode, 16 if deep else 8)

    return read


def _decode(
    data: bytes, scaled: Scaled | None, *, pillow: tuple[str, ...], grey: int = GREY, color: str = GRAY
) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=pillow) as image:
        _check(image)
        image.load()
        target = scaled(*image.size) if scaled is not None else None
        return np.asarray(resized(to_channels(image, grey, color), target, grey))


def _check(image: Image.Image) -> None:
    check_size(*image.size)
    if getattr(image, "n_frames", 1) > 1:
        raise UnsupportedImage(f"it has {image.n_frames} frames; write each as a file of its own")  # type: ignore[attr-defined]
    if image.mode not in _MODES:
        raise UnsupportedImage(f"its colour mode {image.mode} is not read")


def _entry(kind: type[ImageFormat], name: str, magic: tuple[bytes, ...], endings: tuple[str, ...]) -> ImageFormat:
    """The entry of the format that Pillow calls by the same letters, without blanks."""
    pillow = (name.replace(" ", "").upper(),)
    decode = partial(_decode, pillow=pillow)
    earlier = partial(_decode, pillow=pillow, grey=1)
    offset = 8 if kind is _WebP else 0
    content_type = f"image/{endings[0][1:]}"
    colored = partial(_decode, pillow=pillow, color=RGB)
    return kind(name, magic, endings, content_type, _header(name, pillow), decode, offset, earlier, colored=colored)


BMP = _entry(_Bmp, "BMP", (b"BM",), (".bmp", ".dib"))
GIF = _entry(ImageFormat, "GIF", (b"GIF87a", b"GIF89a"), (".gif",))
WEBP = _entry(_WebP, "WebP", (b"WEBP",), (".webp",))
JPEG_2000 = _entry(
    ImageFormat, "JPEG 2000", (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), (".jp2", ".j2k", ".j2c", ".jpx")
)
