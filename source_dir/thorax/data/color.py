"""Whether a set's images carry colour, or are grey images in files that could hold colour; and what color=auto takes.

JPEG leaves a little colour in grey images, scanned films have the tint of their base, and a viewer draws marks in
colour: none of these makes an image a colour image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thorax.data.columns import Sources
from thorax.data.decoders import GRAY, RGB, DecodeError, decode, header
from thorax.data.source import Source
from thorax.text import counted

AUTO = "auto"
COLORS = (AUTO, GRAY, RGB)
#: Images that are looked at, spread evenly over a set, and the side in pixels that they are looked at.
SAMPLED, SIDE = 64, 64
#: Modes of files that hold grey alone: Pillow's, and DICOM's photometric interpretations.
GREY_MODES = frozenset({"1", "L", "LA", "MONOCHROME1", "MONOCHROME2"})
#: Levels (0..255) by which a pixel's colour must lie off the line of its image's tint, and the share of such pixels
#: that make a colour image.
OFF_TINT, SHARE = 12.0, 0.05
#: Levels by which an image's mean colour must lie off that of the set: images that each have a strong tint of their
#: own are colour images.
OFF_SET = 25.0
#: The share of colour images in the sample from which on color=auto takes rgb.
ENOUGH = 0.25
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class ColorSample:
    """What a sample of a set's images shows.

    Attributes:
        images: that could be read.
        colored: of these, carry colour.
    """

    images: int
    colored: int

    @property
    def share(self) -> float:
        """Of colour images, 0..1; 0 where none could be read."""
        return self.colored / self.images if self.images else 0.0

    def __str__(self) -> str:
        number = self.colored or "none"
        return (
            f"{number} of {counted(self.images, 'sampled image')} {'carry' if self.colored > 1 else 'carries'} colour"
        )


def may_hold_color(mode: str) -> bool:
    """Whether a file of this mode, as its header says it, can hold colour."""
    return mode not in GREY_MODES


def colors_of(image: np.ndarray) -> tuple[np.ndarray, float]:
    """An image's mean colour, and how much of it is more than a tint.

    Args:
        image: (h, w, 3) uint8.

    Returns:
        (2,) means of red and blue less luminance, in levels; and the share of pixels, 0..1, whose colour is not the one
        that a tint (a line from one colour to another) gives to their luminance.
    """
    pixels = image.reshape(-1, 3).astype(np.float32)
    grey = pixels @ _LUMINANCE
    off = pixels[:, ::2] - grey[:, None]
    mean, centred = off.mean(axis=0), grey - grey.mean()
    slope = centred @ off / max(float(centred @ centred), 1e-6)
    rest = off - mean - centred[:, None] * slope
    return mean, float((np.abs(rest).max(axis=1) > OFF_TINT).mean())


def sampled(count: int, most: int = SAMPLED) -> range:
    """Places of at most `most` of `count` images, spread evenly."""
    return range(0, count, -(-count // most) or 1)


def sample_colors(sources: Sources | Sequence[Source]) -> ColorSample:
    """Looks at SAMPLED of the images; what cannot be read is passed over, of grey files the header alone is read."""
    means, shares = [], []
    for place in sampled(len(sources)):
        source = sources[place]
        try:
            if may_hold_color(header(source, str(source)).mode):
                mean, share = colors_of(decode(source, str(source), lambda width, height: (SIDE, SIDE), color=RGB))
            else:
                mean, share = np.zeros(2, np.float32), 0.0
        except DecodeError:
            continue
        means.append(mean)
        shares.append(share)
    if not means:
        return ColorSample(0, 0)
    far = np.abs(np.stack(means) - np.median(means, axis=0)).max(axis=1) > OFF_SET
    return ColorSample(len(means), int(((np.array(shares) >= SHARE) | far).sum()))


def chosen_color(sample: ColorSample, image_shape: Sequence[int] = (3,)) -> tuple[str, str]:
    """What color=auto takes, and why, in words.

    Args:
        sample: of the training images.
        image_shape: as configured; one channel cannot hold colour.
    """
    if sample.share < ENOUGH:
        more = ", fewer than a quarter; color=rgb would keep it" if sample.colored else ""
        return GRAY, f"{sample}{more}"
    if image_shape[0] == 1:
        shape = ",".join(map(str, image_shape))
        return GRAY, f"{sample}, but image_shape={shape} has one channel; set color=rgb to train on it"
    return RGB, str(sample)
