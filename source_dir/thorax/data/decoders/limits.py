"""What every decoder shares: how large an image may be, the errors, the header, and the last steps to grey levels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from thorax.errors import ThoraxError

#: Pixels of the largest image (8,192 x 8,192; the largest detectors have 30 million). A file that claims more is
#: refused unread.
MAX_PIXELS = 2**26
#: Bytes of the largest file.
MAX_BYTES = 2**28
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


def check_size(width: int, height: int) -> None:
    """Raises UnsupportedImage for an image without pixels or with more than MAX_PIXELS."""
    if width < 1 or height < 1:
        raise UnsupportedImage(f"it has {width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise UnsupportedImage(f"it claims {width}x{height} pixels, more than the {MAX_PIXELS} that are read")


def resized(grey: Image.Image, target: tuple[int, int] | None) -> Image.Image:
    """The image at (width, height) `target`, by an antialiasing bilinear filter; None keeps its size."""
    if target is None or grey.size == target:
        return grey
    return grey.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0)


def full_scale(pixels: np.ndarray) -> int:
    """The white of an image of 16-bit samples, found from its content: 255, 1023, 4095, 16383 or 65535.

    Images of 10 to 14 bits are often stored in 16-bit files as they are: the smallest of these depths that holds the
    image's brightest sample is taken. An image that was stretched from 8 bits to the whole range (x 257 or x 256) keeps
    the whole range, however dark it is.
    """
    top = int(pixels.max())
    if top >= 1 << 14:
        return 65535
    if top > 255 and (not (pixels % 257).any() or not (pixels & 255).any()):
        return 65535
    return next(white for white in (255, 1023, 4095, 16383) if top <= white)


def grey_table(white: int, size: int = 65536) -> np.ndarray:
    """(size,) uint8: the grey level 0..255 of every sample 0..size-1, where `white` and more are 255."""
    table: np.ndarray = np.rint(np.arange(size) * (255.0 / white)).clip(0, 255).astype(np.uint8)
    return table
