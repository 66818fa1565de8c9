"""Notes on an image's colour: a grey image for a network of colours, or a colour image that becomes grey."""

from __future__ import annotations

from typing import Any

import numpy as np

from thorax.data.color import OFF_TINT, SHARE, SIDE, colors_of, may_hold_color
from thorax.data.decoders import RGB, decode, header
from thorax.data.images import DecodeError, Preprocessing
from thorax.serving.arrays import NormalizedImage
from thorax.serving.image_cost import is_cheap
from thorax.serving.image_inputs import as_file

#: Shares of colour images in training below which one is unusual, and above which a grey one is.
RARE, NEARLY_ALL = 0.05, 0.95
GREY_NOTE = "a grey image; the training images were in colour"
COLOR_NOTE = "an image in colour, seen in grey; the training images were grey"


def color_notes(picture: np.ndarray, source: Any, preprocessing: Preprocessing, colored: float | None) -> list[str]:
    """What is unusual about an image's colour; it is answered all the same.

    Args:
        picture: (height, width[, 3]) uint8, the prepared image.
        source: what it was prepared from, in any form that a Classifier takes; None: not known.
        preprocessing: of the network.
        colored: share of colour images among those of training; None: as preprocessing.color says.
    """
    if preprocessing.color == RGB:
        usual = 1.0 if colored is None else colored
        return [GREY_NOTE] if usual > NEARLY_ALL and is_grey(picture) else []
    return [COLOR_NOTE] if (colored or 0.0) < RARE and source is not None and _carries_color(source) else []


def is_grey(picture: np.ndarray) -> bool:
    """Whether an RGB image (h, w, 3) uint8 has no colour but what JPEG leaves."""
    return bool((np.ptp(picture, axis=2) > OFF_TINT).mean() < 0.001)


def _carries_color(source: Any) -> bool:
    """Whether an image has colour that is more than a tint; of grey files the header alone is read."""
    if isinstance(source, NormalizedImage):
        return False
    try:
        file = as_file(source)
        if isinstance(file, bytes) and not is_cheap(file):  # a second decoding has no limits here
            return False
        if not may_hold_color(header(file, "the image").mode):
            return False
        return colors_of(decode(file, "the image", lambda width, height: (SIDE, SIDE), color=RGB))[1] >= SHARE
    except DecodeError:
        return False
