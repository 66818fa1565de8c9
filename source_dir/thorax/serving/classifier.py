"""The classifier: a bundle, ready to score films."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from thorax.serving.bundle import Bundle


class Classifier:
    """Scores films with a bundle's network, prepared as in training.

    Args:
        bundle: what to serve.
        device: default: a GPU if there is one.
    """

    def __init__(self, bundle: Bundle, device: torch.device | None = None) -> None:
        self.bundle = bundle
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.temperatures = torch.tensor(bundle.temperatures, dtype=torch.float32, device=self.device)
        self.net = bundle.build_network().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, folder: str | Path) -> Classifier:
        """Raises ThoraxError where the folder is no bundle."""
        return cls(Bundle.load(Path(folder)))

    @torch.inference_mode()
    def predict(self, images: Sequence[Path | bytes]) -> np.ndarray:
        """Calibrated probabilities of the labels (bundle.space.outputs).

        Args:
            images: paths or the bytes of JPEG or PNG files.

        Returns:
            (N, L) float32 in 0..1.

        Raises:
            UnreadableFilm: one of them cannot be read.
        """
        outputs = self.bundle.space.outputs
        if not images:
            return np.zeros((0, len(outputs)), np.float32)
        films = np.stack([self.bundle.preprocessing.film(image) for image in images])
        x = self.bundle.preprocessing.tensor(torch.from_numpy(films).to(self.device))
        logits = self.net(x.contiguous(memory_format=torch.channels_last)).float() / self.temperatures
        p = logits.softmax(dim=1) if self.bundle.space.task == "multiclass" else logits.sigmoid()
        return np.asarray(p.cpu().numpy(), np.float32)
