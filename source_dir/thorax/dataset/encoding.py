"""One image as it is packed: read, decoded once, and encoded anew where that is asked for."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from thorax.data.decoders import GRAY, decode, format_of
from thorax.data.decoders.limits import Scaled
from thorax.data.source import Source
from thorax.errors import ThoraxError


class Encoded(NamedTuple):
    """An image as it is packed: its place in the listing, file ending and bytes; or why it cannot be."""

    place: int
    suffix: str
    data: bytes
    problem: str = ""


@dataclass(frozen=True)
class Encoding:
    """How images are stored.

    Attributes:
        size: short side in pixels, such as 256; WIDTHxHEIGHT for a stretched image; "" for its own size.
        kind: keep (the file as it is), or jpeg, png or raw (PGM; in colour PPM) of 8 bits.
        quality: of a JPEG, 1..100.
        color: gray, or rgb: three channels of each image but those that are grey, which have one.
    """

    size: str = ""
    kind: str = "keep"
    quality: int = 95
    color: str = GRAY

    def __call__(self, image: tuple[int, Source]) -> Encoded:
        """One image of the listing: its place in it, and where it is."""
        place, source = image
        if isinstance(source, Path) and source.exists() and not source.is_file():
            return Encoded(place, "", b"", f"{source} cannot be read: it is not a file")  # reading a pipe would block
        try:
            data = source.read_bytes() if isinstance(source, Path) else source.read()
            pixels = decode(data, str(source), scaled_to(self.size), color=self.color)
        except OSError as error:
            return Encoded(place, "", b"", f"{source} cannot be read: {error.strerror}")
        except ThoraxError as error:
            return Encoded(place, "", b"", str(error))
        if self.kind == "keep":
            found = format_of(data)
            assert found is not None  # it was decoded
            return Encoded(place, found.endings[0], data)
        if pixels.ndim == 3 and not np.ptp(pixels, axis=2).any():
            pixels = pixels[..., 0]
        if self.kind == "raw":
            mark, ending = (b"P5", ".pgm") if pixels.ndim == 2 else (b"P6", ".ppm")
            head = b"%s %d %d 255\n" % (mark, pixels.shape[1], pixels.shape[0])
            return Encoded(place, ending, head + pixels.tobytes())
        out = io.BytesIO()
        jpeg = self.kind == "jpeg"
        Image.fromarray(pixels).save(out, self.kind.upper(), **({"quality": self.quality} if jpeg else {}))
        return Encoded(place, ".jpg" if jpeg else ".png", out.getvalue())


def scaled_to(size: str) -> Scaled | None:
    """Maps (width, height) of an image to those that it is packed with; see `Encoding.size`."""
    if not size:
        return None
    if "x" in size:
        width, height = map(int, size.split("x"))
        return lambda *_: (width, height)
    short = int(size)
    return lambda width, height: (
        max(short, round(width * short / min(width, height))),
        max(short, round(height * short / min(width, height))),
    )
