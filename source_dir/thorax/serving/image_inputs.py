"""Images in every form that a Classifier takes, as a path or as the bytes of a file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from thorax.data.images import DecodeError

#: The path of an image, the bytes of a file, an array as `array_to_png` takes it, or a PIL image.
ImageInput = str | Path | bytes | np.ndarray | Image.Image
#: Modes of PIL images that a PNG holds as they are. Other colours become RGB.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def as_file(image: ImageInput) -> Path | bytes:
    """The image as a path or as the bytes of a file, so that every form goes the same way from here on.

    Raises:
        DecodeError: an array or a PIL image of which no image can be made.
    """
    if isinstance(image, np.ndarray):
        return array_to_png(image)
    if isinstance(image, Image.Image):
        return pil_to_png(image)
    return Path(image) if isinstance(image, str) else image


def array_to_png(image: np.ndarray) -> bytes:
    """The PNG of one image given as numbers.

    Args:
        image: (H, W) or (H, W, 3) uint8 in 0..255; or (H, W) uint16, whose range its largest value tells as in a file
            of 16 bits (see decoders.limits.full_scale), or float in 0..1. 0 is black.

    Raises:
        DecodeError: another shape, type or range, or numbers that are not finite.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or min(image.shape) < 1:
        raise DecodeError(f"an array of shape {image.shape} is no image; give (H, W), or (H, W, 3) in uint8")
    if image.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):  # true for NaN as well
            raise DecodeError(
                f"an array of {image.dtype} must hold numbers in 0..1, found {low:g} to {high:g}; divide by the largest"
                " grey value"
            )
        image = np.rint(image.astype(np.float32) * 255).astype(np.uint8)
    if image.dtype.kind != "u" or image.dtype.itemsize > 2 or (image.ndim == 3 and image.dtype.itemsize > 1):
        raise DecodeError(
            f"an array of {image.dtype} and shape {image.shape} is no image; give uint8, or for grey images uint16 or"
            " float in 0..1"
        )
    return _png(Image.fromarray(np.ascontiguousarray(image, image.dtype.newbyteorder("="))))


def pil_to_png(image: Image.Image) -> bytes:
    """The PNG of a PIL image, turned upright as its EXIF orientation says.

    Raises:
        DecodeError: its pixels are 32-bit numbers, whose white is not known, or its file cannot be read.
    """
    if image.mode in ("F", "I"):
        raise DecodeError(
            f"a PIL image of mode {image.mode} has no fixed range; give an array of uint8, uint16, or float in 0..1"
        )
    try:
        upright = ImageOps.exif_transpose(image)
        return _png(upright if upright.mode in _PNG_MODES else upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DecodeError(f"the PIL image cannot be read: {error}") from None


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=0)
    return out.getvalue()
