"""A heat map: where in an image the network saw a label."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True, repr=False)
class HeatMap:
    """Where in an image the network saw a label. A notebook shows it as a picture.

    Attributes:
        label: the label.
        map: (height, width) float32 in 0..1, of the prepared image's size.
        image: (height, width) uint8, in colour (height, width, 3): the prepared image below it.
        empty: whether no region speaks for the label, so that the map is 0 everywhere.

    Examples:
        >>> heat_map = classifier.explain("image.png", "Effusion")
        >>> Path("effusion.png").write_bytes(heat_map.png())
    """

    label: str
    map: np.ndarray
    image: np.ndarray

    @property
    def empty(self) -> bool:
        return not self.map.any()

    def __repr__(self) -> str:
        told = "empty: no region speaks for it" if self.empty else f"{self.map.shape[0]}x{self.map.shape[1]}"
        return f"HeatMap({self.label}, {told})"

    def png(self) -> bytes:
        """The map in colour over the image, as the bytes of a PNG: the hotter, the less of the image is seen."""
        # From black by red and yellow to white: a ramp for each of red, green and blue.
        colour = np.stack([np.clip(3 * self.map - k, 0, 1) for k in (0, 1, 2)], axis=2) * 255
        share = (0.6 * self.map)[..., None]
        mixed = (self.image if self.image.ndim == 3 else self.image[..., None]) * (1 - share) + colour * share
        out = io.BytesIO()
        Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8)).save(out, "PNG")
        return out.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()
