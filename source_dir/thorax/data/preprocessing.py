"""The one Preprocessing: any film becomes one grey channel of one size, everywhere alike."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from thorax.data.decoders import UnreadableFilm, decode
from thorax.data.source import Source


@dataclass(frozen=True)
class Preprocessing:
    """How a film becomes the network's input. Stored in the bundle and used by training, evaluation and servers.

    Attributes:
        height, width: pixels of the result.
        channels: 1, or 3 equal ones.
        fit: stretch (whole film, aspect given up), crop (centre crop) or pad (whole film on black).
        resize: with crop: the short side is scaled to this first; None crops the film as it is.
        normalization: film (each film to mean 0 and deviation 1), fixed or dataset ((grey/255 - mean) / deviation).
        mean, deviation: of grey / 255, for fixed and dataset.
    """

    height: int
    width: int
    channels: int = 1
    fit: str = "stretch"
    resize: int | None = None
    normalization: str = "film"
    mean: float = 0.5
    deviation: float = 0.25

    def film(self, source: Source | bytes, name: str = "") -> np.ndarray:
        """Decodes one film and brings it to its size.

        Args:
            source: a path, a stretch of a larger file, or the bytes of the film.
            name: what to call the film in errors; default: the source.

        Returns:
            (height, width) uint8: 0 black to 255 white.

        Raises:
            UnreadableFilm: it cannot be decoded, or is smaller than the crop.
        """
        name = name or (f"a film of {len(source)} bytes" if isinstance(source, bytes) else str(source))
        size = self._scaled_for if self.fit != "crop" or self.resize else None
        return self._place(decode(source, name, size), name)

    def _scaled_for(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that a film is scaled to before it is placed."""
        if self.fit == "stretch":
            return self.width, self.height
        if self.fit == "pad":
            scale = min(self.width / width, self.height / height)
        else:
            assert self.resize is not None
            scale = self.resize / min(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _place(self, film: np.ndarray, name: str) -> np.ndarray:
        """The film as (height, width); crop without resize and training's random crops need the whole film."""
        if self.fit == "pad":
            placed = np.zeros((self.height, self.width), np.uint8)
            top, left = (self.height - film.shape[0]) // 2, (self.width - film.shape[1]) // 2
            placed[top : top + film.shape[0], left : left + film.shape[1]] = film
            return placed
        if self.fit == "crop":
            return self.crop(film, name, 0.5, 0.5)
        return film

    def crop(self, film: np.ndarray, name: str, down: float, right: float) -> np.ndarray:
        """(height, width) cut from a larger film; `down` and `right` in 0..1 say where, 0.5 is the middle.

        Raises:
            UnreadableFilm: the film is smaller than the crop.
        """
        spare_h, spare_w = film.shape[0] - self.height, film.shape[1] - self.width
        if spare_h < 0 or spare_w < 0:
            raise UnreadableFilm(
                f"{name} has {film.shape[1]}x{film.shape[0]} pixels, less than the crop of {self.width}x{self.height}; "
                f"set resize={max(self.height, self.width)} or more, or fit=stretch")  # fmt: skip
        top, left = round(down * spare_h), round(right * spare_w)
        return np.ascontiguousarray(film[top : top + self.height, left : left + self.width])

    def uncropped(self, source: Source | bytes, name: str) -> np.ndarray:
        """The scaled film before the crop, (h, w) uint8, for training's random crops."""
        return decode(source, name, self._scaled_for if self.resize else None)

    def tensor(self, films: torch.Tensor) -> torch.Tensor:
        """The network's input.

        Args:
            films: (N, height, width) uint8, or float32 in 0..255 after augmentation.

        Returns:
            (N, channels, height, width) float32, on the films' device.
        """
        x = films.to(torch.float32).unsqueeze(1)
        if self.normalization == "film":
            deviation, mean = torch.std_mean(x, dim=(1, 2, 3), keepdim=True, correction=0)
            x = (x - mean) / deviation.clamp(min=1.0)
        else:
            x = (x / 255.0 - self.mean) / self.deviation
        return x.expand(-1, self.channels, -1, -1) if self.channels > 1 else x

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Preprocessing:
        return cls(**stored)

    def fingerprint(self) -> str:
        """Hash of the description; a bundle with another one prepares films in another way."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
