"""Images on which engines are compared, the same for the same bundle on every machine."""

from __future__ import annotations

import numpy as np

from thorax.data.decoders import RGB
from thorax.data.images import Preprocessing
from thorax.data.out_of_distribution import OutOfDistributionDetector


def reference_images(size: Preprocessing, detector: OutOfDistributionDetector | None) -> np.ndarray:
    """(4, height, width[, 3]) uint8: images like those of training where the bundle knows them, and synthetic ones."""
    height, width = size.height, size.width
    rng = np.random.default_rng(0)
    waves = np.sin(np.linspace(0, 9, height))[:, None] * np.cos(np.linspace(0, 7, width))[None]
    images = [128 + 80 * waves, rng.normal(128, 40, (height, width))]
    synthetic = [images[0] * 0.5 + images[1] * 0.5, 255 - images[0]]
    images += detector.examples(height, width) if detector else synthetic
    if size.color == RGB:  # of those in grey each channel another part of the range
        images = [image if image.ndim == 3 else image[:, :, None] * (1.0, 0.8, 0.6) + (0, 20, 60) for image in images]
    return np.stack(images).clip(0, 255).astype(np.uint8)
