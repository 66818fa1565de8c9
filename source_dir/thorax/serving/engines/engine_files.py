"""The files of an optimized network in a bundle, as bundle.json lists them under "engine"."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from thorax.errors import ThoraxError
from thorax.files import digest_of

FOLDER = "engine"


@dataclass(frozen=True, kw_only=True)
class EngineFiles:
    """One optimized network.

    Attributes:
        name: of the engine, such as openvino.
        precision: float32 or int8, of the files.
        files: path in the bundle -> SHA-256 of the content.
        weights: version of the bundle's weights that they were made from.
        expected: (N, L) probabilities of the reference images where the files were made; another machine has to give
            the same.
        figures: how far its answers were from float32's on the images that it was accepted by, or rejected; empty for
            float32 without images.
        float_layers: layers that stay in float32.
    """

    name: str
    precision: str
    files: dict[str, str]
    weights: str
    expected: list[list[float]]
    figures: dict[str, Any] = field(default_factory=dict)
    float_layers: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As bundle.json stores it."""
        return asdict(self) | {"float_layers": list(self.float_layers)}

    def summary(self) -> dict[str, Any]:
        """What a client or a page shows of it."""
        return {
            "engine": self.name,
            "precision": self.precision,
            "figures": self.figures,
            "float_layers": list(self.float_layers),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any] | None) -> EngineFiles | None:
        """The inverse; None where a bundle has none. Raises TypeError, KeyError for another form."""
        if not stored:
            return None
        known = {name: stored[name] for name in cls.__dataclass_fields__}
        return cls(**known | {"float_layers": tuple(stored["float_layers"])})

    def model(self, folder: Path, version: str) -> Path:
        """The file to load, once all files are found to be as they were written.

        Args:
            folder: of the bundle.
            version: of the bundle's weights.

        Raises:
            ThoraxError: a file is missing or changed, or they were made from other weights.
        """
        if self.weights != version:
            raise ThoraxError(f"made from the weights {self.weights}, the bundle has {version}")
        for name, digest in self.files.items():
            if digest_of(folder / name) != digest:
                raise ThoraxError(f"{name} is missing or damaged")
        return folder / next(name for name in self.files if name.endswith(".xml"))

    def differs(self, probabilities: np.ndarray) -> float:
        """The largest difference to `expected`; infinite for another shape."""
        expected = np.array(self.expected, np.float32)
        return float(np.abs(expected - probabilities).max()) if expected.shape == probabilities.shape else float("inf")
