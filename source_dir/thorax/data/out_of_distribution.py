"""What the training images look like, in a few numbers: enough to notice an inverted image or one of something else.

A prepared image is shrunk to 16 x 16, brought to mean 0 and std 1, and compared with the principal components of the
training images: how far it lies outside of them, and how far out along them. No single patient's image is kept.
In colour each channel is shrunk, and all three are brought to mean 0 and std 1 together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from thorax.data.color import sample_colors
from thorax.data.images import DecodeError, Preprocessing
from thorax.data.samples import SampleSet

SIDE = 16
COMPONENTS = 8
#: Images that are used, at most and at least.
MOST, LEAST = 512, 64
#: How far beyond 99 % of the training images an image must lie: outside of the components, along them.
MARGINS = (1.15, 1.3)


@dataclass(frozen=True)
class OutOfDistributionDetector:
    """What is known of the training images, shrunk to SIDE x SIDE.

    Attributes:
        mean: (256,), in colour (768,) with the channels one after another, of all images.
        components: (K, 256 or 768) principal components.
        std: (K,) of the images along each component; stored as "deviations".
        limits: distances (outside of the components, along them) up to which an image is usual.
        colored: the share of the training images that carry colour, 0..1; None: not known.
    """

    mean: np.ndarray
    components: np.ndarray
    std: np.ndarray
    limits: tuple[float, float]
    colored: float | None = None

    @classmethod
    def of(cls, images: np.ndarray, colored: float | None = None) -> OutOfDistributionDetector | None:
        """From prepared images (N, height, width[, 3]) uint8 in any order; None for fewer than 64.

        Half of them give the components, the other half the limits.
        """
        if len(images) < LEAST:
            return None
        shrunk = _shrunk(images)
        half = shrunk[::2]
        mean = half.mean(0)
        _, spread, axes = np.linalg.svd(half - mean, full_matrices=False)
        found = cls(mean, axes[:COMPONENTS], np.maximum(spread[:COMPONENTS] / np.sqrt(len(half)), 1e-6), (1.0, 1.0))
        distances = zip(found._distances(shrunk[1::2]), MARGINS, strict=True)
        outside, along = (float(np.quantile(d, 0.99)) * margin for d, margin in distances)
        return cls(found.mean, found.components, found.std, (max(outside, 1e-6), max(along, 1e-6)), colored)

    def distance(self, images: np.ndarray) -> np.ndarray:
        """(N,) how far each image (N, height, width[, 3]) uint8 lies from those of training; up to 1 is usual."""
        outside, along = self._distances(_shrunk(images))
        return np.maximum(outside / self.limits[0], along / self.limits[1])

    def warnings(self, image: np.ndarray) -> list[str]:
        """Of a prepared image (height, width[, 3]) uint8: "looks inverted", "not like the training images", or none."""
        usual, inverted = self.distance(np.stack([image, 255 - image]))
        if usual <= 1:
            return []
        return ["looks inverted" if inverted < 0.8 * usual and inverted <= 1.5 else "not like the training images"]

    def examples(self, height: int, width: int) -> list[np.ndarray]:
        """Two blurred images (height, width[, 3]) in 0..255, of no patient: the mean, and one off in all components."""
        off = self.mean + (self.components * self.std[:, None]).sum(0)
        block = np.ones((-(-height // SIDE), -(-width // SIDE)))
        shown = [
            [
                np.kron(s.reshape(SIDE, SIDE) * 50 + 128, block)[:height, :width]
                for s in np.split(each, len(each) // SIDE**2)
            ]
            for each in (self.mean, off)
        ]
        return [channels[0] if len(channels) == 1 else np.stack(channels, 2) for channels in shown]

    def _distances(self, shrunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        off = shrunk - self.mean
        along = off @ self.components.T
        outside = np.sqrt(np.maximum((off**2).sum(1) - (along**2).sum(1), 0))
        return outside, np.sqrt(((along / self.std) ** 2).mean(1))

    def to_dict(self) -> dict[str, Any]:
        """The detector as bundles store it, in the words of bundle format 1: deviations."""
        arrays = {"mean": self.mean, "components": self.components, "deviations": self.std}
        known = {} if self.colored is None else {"colored": round(self.colored, 4)}
        rounded = {key: np.round(array, 4).tolist() for key, array in arrays.items()}
        return {**rounded, "limits": list(self.limits), **known}

    @classmethod
    def from_dict(cls, stored: dict[str, Any] | None) -> OutOfDistributionDetector | None:
        """The detector of what `to_dict` stored; None where there is none."""
        if not stored:
            return None
        mean, components, std = (np.array(stored[key], np.float64) for key in ("mean", "components", "deviations"))
        limits = (float(stored["limits"][0]), float(stored["limits"][1]))
        return cls(mean, components, std, limits, stored.get("colored"))


def typical_images(samples: SampleSet, preprocessing: Preprocessing) -> OutOfDistributionDetector | None:
    """The detector of at most MOST images, evenly spread over the set; images that cannot be read are left out.

    None for fewer than LEAST.
    """
    images = []
    for sample in samples.samples[:: -(-len(samples) // MOST) or 1]:
        try:
            images.append(preprocessing.image(sample.source))
        except DecodeError:
            continue
    if not images:
        return None
    # Samples may lie in the order of classes: shuffled, so that both halves hold all of them.
    shuffled = np.stack(images)[np.random.default_rng(0).permutation(len(images))]
    return OutOfDistributionDetector.of(shuffled, sample_colors(samples.table.sources).share)


def _shrunk(images: np.ndarray) -> np.ndarray:
    """(N, 256 or 768) float64, each of mean 0 and std 1; an even image stays at 0."""
    import torch  # late: a server needs it for warnings alone
    import torch.nn.functional as F

    x = torch.from_numpy(np.ascontiguousarray(images)).float()
    x = x.movedim(3, 1) if x.ndim == 4 else x[:, None]
    small = F.adaptive_avg_pool2d(x, SIDE).flatten(1).double().numpy()
    small -= small.mean(1, keepdims=True)
    return np.asarray(small / np.maximum(small.std(1, keepdims=True), 1.0))
