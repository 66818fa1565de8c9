"""Arrays as images, and heat maps as pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from thorax.data.images import DecodeError


def as_png(image: np.ndarray) -> bytes:
    """One image given as numbers, as the bytes of a PNG, so that it goes the way of every other image.

    Args:
        image: (H, W) or (H, W, 3): uint8 in 0..255; or (H, W): uint16, whose white its brightest sample tells as in a
            file of
            16 bits (see decoders.limits.full_scale), or float in 0..1. 0 is black.

    Raises:
        DecodeError: another shape, type or range, or numbers that are not finite.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or min(image.shape) < 1:
        raise DecodeError(f"an array of shape {image.shape} is no image; give (H, W), or (H, W, 3) in uint8")
    if image.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):  # also where one is NaN
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
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image, image.dtype.newbyteorder("="))).save(out, "PNG", compress_level=0)
    return out.getvalue()


def overlay(image: np.ndarray, heat: np.ndarray) -> bytes:
    """A PNG of the image with the heat map in colour over it: the hotter, the less of the image is seen.

    Args:
        image: (H, W) uint8.
        heat: (H, W) float32 in 0..1.
    """
    # From black by red and yellow to white, a ramp for each of red, green and blue.
    colour = np.stack([np.clip(3 * heat - k, 0, 1) for k in (0, 1, 2)], axis=2) * 255
    share = (0.6 * heat)[..., None]
    mixed = image[..., None] * (1 - share) + colour * share
    out = io.BytesIO()
    Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()
