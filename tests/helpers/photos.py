"""Small pictures in colour, from formulas, the same on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import images


def photo(height: int = 40, width: int = 48, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: three different patterns, as colourful as a picture can be."""
    return np.stack([images.grey(height, width, seed + k) for k in (0, 3, 7)], axis=2)


def smooth_photo(height: int = 400, width: int = 520) -> np.ndarray:
    """(height, width, 3) uint8 without sharp edges: what JPEG and resizing change but little."""
    one = images.smooth(height, width)
    return np.stack([one, np.flipud(one), 255 - one], axis=2)


def tinted(grey: np.ndarray, color: tuple[float, float, float]) -> np.ndarray:
    """A grey image (h, w) as through a coloured glass: (h, w, 3) uint8."""
    return np.rint(grey[:, :, None] * np.array(color)).clip(0, 255).astype(np.uint8)


def told_by_color(root: Path, count: int, side: int = 36, seed: int = 0) -> Path:
    """Classes `cool` and `warm` that a grey copy cannot tell apart: the red and the blue of their pictures change
    places, and their luminance is drawn alike."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        warm = k % 2
        blobs = np.kron(rng.integers(70, 180, (side // 6, side // 6)), np.ones((6, 6)))
        off = rng.uniform(25, 60, (side, side)) * (1 if warm else -1)
        # Of one luminance: 0.299 red + 0.587 green + 0.114 blue is that of the blobs.
        picture = np.stack([blobs + off, blobs + (0.114 - 0.299) / 0.587 * off, blobs - off], axis=2)
        folder = root / ("cool", "warm")[warm]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"person{seed}{k:03d}_1.png")
    return root
