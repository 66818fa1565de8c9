"""Views of a prepared image for test-time augmentation: the image itself, and slightly moved, turned and scaled ones.

They are fixed, so that an image has the same answer every time. The logits of the views are averaged, not their
probabilities: that is the logarithmic opinion pool (Genest and Zidek, "Combining probability distributions", 1986), and
what it gives is one logit again, so that temperatures, biases and thresholds, fitted on such averages of the validation
images, are applied as without views; and no view that is very sure outweighs the others by being near 0 or 1.

Images are mirrored only where training mirrored them (augmentation_type=crop...): a chest has a left and a right side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from thorax.errors import ThoraxError

#: (degrees, scale, right, down) of each view; shifts as shares of the image.
MOVES = (
    (0.0, 1.0, 0.0, 0.0),
    *((0.0, 1.06, 0.0, 0.0), (4.0, 1.0, 0.0, 0.0), (-4.0, 1.0, 0.0, 0.0)),
    *((0.0, 1.0, 0.03, 0.0), (0.0, 1.0, -0.03, 0.0), (0.0, 1.0, 0.0, 0.03), (0.0, 1.0, 0.0, -0.03)),
    *((0.0, 0.94, 0.0, 0.0), (3.0, 1.06, 0.02, 0.0), (-3.0, 1.06, -0.02, 0.0), (3.0, 0.94, 0.0, 0.02)),
    *((-3.0, 0.94, 0.0, -0.02), (2.0, 1.03, -0.03, 0.03), (-2.0, 1.03, 0.03, -0.03), (0.0, 1.12, 0.0, 0.0)),
)
#: Views, at most.
MOST = len(MOVES)


def may_mirror(augmentation_type: object) -> bool:
    """Whether training of that `augmentation_type` mirrors images."""
    return str(augmentation_type).startswith("crop")


@dataclass(frozen=True)
class Views:
    """How an image is looked at.

    Attributes:
        count: views, 1 (the image alone) to MOST.
        mirror: every second view is mirrored.

    Raises:
        ThoraxError: another number.
    """

    count: int = 1
    mirror: bool = False

    def __post_init__(self) -> None:
        if type(self.count) is not int or not 1 <= self.count <= MOST:
            raise ThoraxError(f"tta={self.count} must be a whole number of views, 1 (the image alone) to {MOST}")

    @classmethod
    def of(cls, count: int | None, configuration: Mapping[str, Any]) -> Views:
        """Of a run's configuration, whose own number of views is taken where `count` is None."""
        own = configuration.get("tta", 1)
        return cls(own if count is None else count, may_mirror(configuration.get("augmentation_type")))

    def view(self, images: np.ndarray, k: int) -> np.ndarray:
        """View k of each image; view 0 is the image as it is.

        Args:
            images: (N, height, width) or (N, height, width, 3), uint8 or float32.

        Returns:
            The same shape and type. What comes from outside of an image is its darkest level: 0 of uint8.
        """
        if k == 0:
            return images
        if self.mirror and k % 2:
            images = images[:, :, ::-1]
        move = MOVES[k // 2 if self.mirror else k]
        return np.ascontiguousarray(images) if move == MOVES[0] else _moved(images, *move)

    def mean_logits(
        self, logits: Callable[[np.ndarray], np.ndarray], images: np.ndarray, most: int, first: bool = False
    ) -> np.ndarray:
        """(N, L) float32: the mean of the views' logits.

        Args:
            logits: of (M, ...) images.
            images: as `view` takes them; with `first`, channels first.
            most: images that `logits` is given at once.
        """
        if self.count == 1:
            return logits(images)
        shown = np.moveaxis(images, 1, 3) if first else images
        group, found = max(1, most // self.count), []
        for start in range(0, len(shown), group):
            part = shown[start : start + group]
            seen = np.concatenate([self.view(part, k) for k in range(self.count)])
            seen = np.ascontiguousarray(np.moveaxis(seen, 3, 1)) if first else seen
            rows = np.concatenate([logits(seen[k : k + most]) for k in range(0, len(seen), most)])
            found.append(rows.reshape(self.count, len(part), -1).mean(axis=0))
        return np.concatenate(found)


def _moved(images: np.ndarray, degrees: float, scale: float, right: float, down: float) -> np.ndarray:
    """Each image turned, scaled and shifted about its middle, bilinear."""
    height, width = images.shape[1:3]
    cos, sin = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    x, y = width / 2, height / 2  # of pixel edges, as Pillow counts
    left, top = x + right * width, y + down * height
    matrix = (cos, sin, x - cos * left - sin * top, -sin, cos, y + sin * left - cos * top)
    found = np.empty_like(images)
    for image, out in zip(images, found, strict=True):
        if images.dtype == np.uint8:
            out[:] = _transformed(image, matrix, 0)
        else:
            for k in range(image.shape[2]) if image.ndim == 3 else (slice(None),):
                plane = image[..., k] if image.ndim == 3 else image
                out[..., k] = _transformed(plane, matrix, float(image.min()))
    return found


def _transformed(image: np.ndarray, matrix: tuple[float, ...], fill: float) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(image))
    color: Any = (0, 0, 0) if picture.mode == "RGB" else fill
    moved = picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=color)
    return np.asarray(moved)
