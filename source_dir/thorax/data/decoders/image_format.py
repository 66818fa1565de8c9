"""What an image format is: one entry of IMAGE_FORMATS. A format from outside the package is registered, no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from thorax.data.decoders.limits import Header, Scaled
from thorax.registry import Registry


@dataclass(frozen=True)
class ImageFormat:
    """One kind of image file.

    Attributes:
        name: such as "JPEG".
        magic: the bytes that mark such a file, any of them.
        endings: of file names, in lower case with the dot; the first is what packing writes.
        content_type: of a request that sends such a file.
        header: reads the header of an open file; raises UnsupportedImage, or what its library raises.
        decode: the file's bytes and the wanted size (None: its own) -> (h, w) uint8, 0 black to 255 white.
        offset: where in the file the mark is, in bytes.
    """

    name: str
    magic: tuple[bytes, ...]
    endings: tuple[str, ...]
    content_type: str
    header: Callable[[BinaryIO], Header]
    decode: Callable[[bytes, Scaled | None], np.ndarray]
    offset: int = 0

    def matches(self, first: bytes) -> bool:
        """Whether a file that begins with these bytes (FIRST of them) is of this format."""
        return first.startswith(self.magic, self.offset)


#: Bytes of a file's beginning that tell its format.
FIRST = 132
IMAGE_FORMATS: Registry[ImageFormat] = Registry("image format")
