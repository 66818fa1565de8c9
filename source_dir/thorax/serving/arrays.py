"""Arrays as films, and heat maps as pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from thorax.data.images import UnreadableFilm


def as_png(film: np.ndarray) -> bytes:
    """One film given as numbers, as the bytes of a PNG, so that it goes the way of every other film.

    Args:
        film: (H, W) or (H, W, 3): uint8 in 0..255; or (H, W): uint16, whose white its brightest sample tells as in a file of
            16 bits (see decoders.limits.full_scale), or float in 0..1. 0 is black.

    Raises:
        UnreadableFilm: another shape, type or range, or numbers that are not finite.
    """
    if film.ndim not in (2, 3) or (film.ndim == 3 and film.shape[2] != 3) or min(film.shape) < 1:
        raise UnreadableFilm(f"an array of shape {film.shape} is no film; give (H, W), or (H, W, 3) in uint8")
    if film.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            low, high = float(film.min()), float(film.max())
        if not (low >= 0 and high <= 1):  # also where one is NaN
            raise UnreadableFilm(f"an array of {film.dtype} must hold numbers in 0..1, found {low:g} to {high:g}; divide by the largest grey value")
        film = np.rint(film.astype(np.float32) * 255).astype(np.uint8)
    if film.dtype.kind != "u" or film.dtype.itemsize > 2 or (film.ndim == 3 and film.dtype.itemsize > 1):
        raise UnreadableFilm(f"an array of {film.dtype} and shape {film.shape} is no film; give uint8, or for grey films uint16 or float in 0..1")
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(film, film.dtype.newbyteorder("="))).save(out, "PNG", compress_level=0)
    return out.getvalue()


def overlay(film: np.ndarray, heat: np.ndarray) -> bytes:
    """A PNG of the film with the heat map in colour over it: the hotter, the less of the film is seen.

    Args:
        film: (H, W) uint8.
        heat: (H, W) float32 in 0..1.
    """
    # From black by red and yellow to white, a ramp for each of red, green and blue.
    colour = np.stack([np.clip(3 * heat - k, 0, 1) for k in (0, 1, 2)], axis=2) * 255
    share = (0.6 * heat)[..., None]
    mixed = film[..., None] * (1 - share) + colour * share
    out = io.BytesIO()
    Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()
