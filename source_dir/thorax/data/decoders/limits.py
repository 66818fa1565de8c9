"""What every decoder shares: limits, errors, the header, what an image format is, and the last steps to grey levels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image

from thorax.errors import ThoraxError
from thorax.registry import Registry

#: Pixels of the largest image (8,192 x 8,192; the largest detectors have 30 million). A file that claims more is
#: refused unread.
MAX_PIXELS = 2**26
#: Bytes of the largest file.
MAX_BYTES = 2**28
#: The rules by which pixels become grey levels. A bundle stores the number that it was trained with, and keeps its
#: answers. 1: the brightest sample decides the depth of 16 bits, JPEGs are decoded at any size above the wanted one.
#: 2: see docs/data.md, "Decoding".
GREY = 2
#: What an image is decoded to: one channel of grey levels, or red, green and blue.
GRAY, RGB = "gray", "rgb"
#: Times the wanted size that an image keeps when it is made smaller in a fast way first (by libjpeg, or by means of
#: squares): with 3 a JPEG and its pixels as a PNG differ by 0.002 in probability at most, with 2 by 0.004, with 1 by
#: 0.017 (126 native images at 128 pixels).
MARGIN = 3
#: The share of samples that a hot pixel or a marker may be: the depth of 16 bits is the one that holds all others.
BRIGHTEST = 0.001
#: Maps (width, height) of the upright image to the wanted (width, height).
Scaled = Callable[[int, int], tuple[int, int]]

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS is stricter
warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged EXIF and the like


class DecodeError(ThoraxError):
    """An image cannot be decoded, or does not fit the preprocessing. The message names it."""


class DecoderMissing(DecodeError):  # noqa: N818  as above
    """A package that decodes the image is not installed. The message names the package."""


class UnsupportedImage(Exception):  # noqa: N818  becomes a DecodeError
    """Why a decoder cannot read an image; `decode` adds the image's name."""


class NotInstalled(UnsupportedImage):
    """A decoder needs a package that is not installed."""


@dataclass(frozen=True)
class Header:
    """What an image's first bytes say.

    Attributes:
        kind: the name of its format in IMAGE_FORMATS.
        width, height: pixels of the upright image.
        mode: Pillow's name of the colour mode (L for any single grey channel), or DICOM's photometric interpretation.
        bits: bits of one sample.
    """

    kind: str
    width: int
    height: int
    mode: str
    bits: int


@dataclass(frozen=True)
class ImageFormat:
    """One kind of image file, and one entry of IMAGE_FORMATS; one from outside the package is registered, no more.

    Attributes:
        name: such as "JPEG".
        magic: the bytes that mark such a file, any of them.
        endings: of file names, in lower case with the dot; the first is what packing writes.
        content_type: of a request that sends such a file.
        header: reads the header of an open file; raises UnsupportedImage, or what its library raises.
        decode: the file's bytes and the wanted size (None: its own) -> (h, w) uint8, 0 black to 255 white.
        offset: where in the file the mark is, in bytes.
        earlier: as decode, by the rules of GREY 1; None where they are the same.
        colored: as decode, in colour: (h, w, 3) uint8 RGB, or (h, w) of a grey image; None: the format holds none.
        resembles: tells a file without the mark by its first bytes (FIRST of them); None: there is no such file.
    """

    name: str
    magic: tuple[bytes, ...]
    endings: tuple[str, ...]
    content_type: str
    header: Callable[[BinaryIO], Header]
    decode: Callable[[bytes, Scaled | None], np.ndarray]
    offset: int = 0
    earlier: Callable[[bytes, Scaled | None], np.ndarray] | None = None
    resembles: Callable[[bytes], bool] | None = None
    colored: Callable[[bytes, Scaled | None], np.ndarray] | None = None

    def matches(self, first: bytes) -> bool:
        """Whether a file that begins with these bytes (FIRST of them) has the mark of this format."""
        return first.startswith(self.magic, self.offset)

    def by_rules(self, grey: int, color: str = GRAY) -> Callable[[bytes, Scaled | None], np.ndarray]:
        """The decoder of one number of GREY; in colour there is one only."""
        if color == RGB:
            return self.colored or self.decode
        return self.earlier if grey < GREY and self.earlier is not None else self.decode


#: Bytes of a file's beginning that tell its format.
FIRST = 132
IMAGE_FORMATS: Registry[ImageFormat] = Registry("image format")


def check_size(width: int, height: int) -> None:
    """Raises UnsupportedImage for an image without pixels or with more than MAX_PIXELS."""
    if width < 1 or height < 1:
        raise UnsupportedImage(f"it has {width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise UnsupportedImage(f"it claims {width}x{height} pixels, more than the {MAX_PIXELS} that are read")


def resized(image: Image.Image, target: tuple[int, int] | None, grey: int = GREY) -> Image.Image:
    """The image at (width, height) `target`, by an antialiasing bilinear filter; None keeps its size.

    Larger images are first reduced by means of squares of pixels, to no less than MARGIN times the target (by GREY 1:
    twice).
    """
    if target is None or image.size == target:
        return image
    return image.resize(target, Image.Resampling.BILINEAR, reducing_gap=MARGIN if grey > 1 else 2.0)


def stacked(image: np.ndarray) -> np.ndarray:
    """(h, w, 3) of an RGB image, or of a grey one (h, w): its levels in all three channels."""
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def full_scale(pixels: np.ndarray, grey: int = GREY) -> int:
    """The white of an image of 16-bit samples, found from its content: 255, 1023, 4095, 16383 or 65535.

    Images of 10 to 14 bits are often stored in 16-bit files as they are: the smallest of these depths that holds all
    but the BRIGHTEST samples is taken (by GREY 1: all of them, so that one hot pixel made an image black). An image
    that was stretched from 8 bits to the whole range (x 257 or x 256) keeps the whole range, however dark it is.

    Args:
        pixels: any shape, uint16 or signed without negative samples; not empty.
        grey: the rules.
    """
    return white_of(counts_of(pixels), grey)


def counts_of(samples: np.ndarray) -> np.ndarray:
    """(65536,) how many samples have each value; samples of any shape, in 0..65535."""
    flat, counts = samples.reshape(-1), np.zeros(65536, np.int64)
    for start in range(0, flat.size, 2**20):  # in pieces, to save memory
        counts += np.bincount(flat[start : start + 2**20], minlength=65536)
    return counts


def white_of(counts: np.ndarray, grey: int = GREY) -> int:
    """As full_scale, from what counts_of returns."""
    values = np.flatnonzero(counts)
    top = int(values[-1])
    if top > 255 and (not (values % 257).any() or not (values & 255).any()):
        return 65535
    if top > 255 and grey > 1:
        top = brightest(counts)
    return next((white for white in (255, 1023, 4095, 16383) if top <= white), 65535)


def brightest(counts: np.ndarray) -> int:
    """The smallest sample that not more than a share of BRIGHTEST exceed."""
    total = int(counts.sum())
    return int(np.searchsorted(np.cumsum(counts), total - int(total * BRIGHTEST)))


def luminance(colour: np.ndarray) -> np.ndarray:
    """(h, w) of (h, w, 3) uint16 samples: ITU-R BT.601, rounded as Pillow rounds it."""
    red, green, blue = (colour[..., k].astype(np.uint32) for k in range(3))
    return np.asarray((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint16)


def grey_table(white: int, size: int = 65536) -> np.ndarray:
    """(size,) uint8: the grey level 0..255 of every sample 0..size-1, where `white` and more are 255."""
    table: np.ndarray = np.rint(np.arange(size) * (255.0 / white)).clip(0, 255).astype(np.uint8)
    return table
