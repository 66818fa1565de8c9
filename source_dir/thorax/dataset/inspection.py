"""What one image is: format, size, mode, bits, and what checks and statistics need of its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from thorax.data.color import colors_of, may_hold_color
from thorax.data.decoders import RGB, Header, decode, header
from thorax.data.source import ByteRange, Source
from thorax.dataset.processes import in_order
from thorax.errors import ThoraxError
from thorax.tracking.progress import Progress

#: Side of the small version that images are compared by.
SMALL = 32
_UNKNOWN = Header("", 0, 0, "", 0)


@dataclass(frozen=True)
class ImageInfo:
    """What one image is.

    Attributes:
        problem: why it cannot be read; then nothing else is known.
        header: its format, size, mode and bits.
        sha256: of its bytes.
        small: (SMALL, SMALL) uint8, the whole image.
        greys: (256,) how many pixels have each grey level; where colours are counted (4, 256), of grey, red, green and
            blue.
        color: mean red and blue less luminance, in levels; (0, 0) of a grey image.
    """

    problem: str = ""
    header: Header = _UNKNOWN
    sha256: str = ""
    small: np.ndarray | None = None
    greys: np.ndarray | None = None
    color: tuple[float, float] = (0.0, 0.0)

    @property
    def kind(self) -> str:
        """Format, mode and bits in words, such as "PNG L 8 bits"."""
        return f"{self.header.kind} {self.header.mode} {self.header.bits} bits"


def inspect_image(source: Source) -> ImageInfo:
    """An image's hash, small version and mean colour; its bytes are read once."""
    try:
        data = source.read() if isinstance(source, ByteRange) else source.read_bytes() if source.is_file() else source
        found = header(data, str(source))
        small = decode(data, str(source), _to_small)
        color = np.zeros(2)
        if may_hold_color(found.mode):
            color, _ = colors_of(decode(data, str(source), _to_small, color=RGB))
    except (ThoraxError, OSError) as error:
        return ImageInfo(problem=str(error))
    digest = hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else ""
    return ImageInfo("", found, digest, small, color=(round(float(color[0]), 2), round(float(color[1]), 2)))


def _to_small(width: int, height: int) -> tuple[int, int]:
    return SMALL, SMALL


def count_greys(source: Source) -> ImageInfo:
    """An image's grey levels, of all of its pixels."""
    try:
        found = header(source, str(source))
        return ImageInfo("", found, greys=np.bincount(decode(source, str(source)).ravel(), minlength=256))
    except ThoraxError as error:
        return ImageInfo(problem=str(error), greys=np.zeros(256, np.int64))


def count_colors(source: Source) -> ImageInfo:
    """An image's levels of grey, red, green and blue, of all of its pixels."""
    try:
        found = header(source, str(source))
        colors = decode(source, str(source), color=RGB)
        levels = [np.asarray(Image.fromarray(colors).convert("L")), *np.moveaxis(colors, 2, 0)]
        return ImageInfo("", found, greys=np.stack([np.bincount(level.ravel(), minlength=256) for level in levels]))
    except ThoraxError as error:
        return ImageInfo(problem=str(error), greys=np.zeros((4, 256), np.int64))


def inspect_all(work: Callable[[Source], ImageInfo], sources: Sequence[Source], processes: int) -> Iterator[ImageInfo]:
    """`work` of every image, in order, with a bar.

    Raises:
        ThoraxError: see in_order.
    """
    progress = Progress("reading", len(sources), every=10.0)
    try:
        for info in in_order(work, sources, processes):
            yield info
            progress.step()
    finally:
        progress.close()
