"""The one decoder and the one Preprocessing: any film becomes one grey channel of one size, everywhere alike."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from thorax.data.source import ByteRange, Source
from thorax.errors import ThoraxError

#: No film is larger than this many pixels (about 22,000 x 22,000 / 3); a file that claims more is refused unread.
MAX_PIXELS = 178_956_970
FORMATS = ("JPEG", "PNG")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png"})
_OPAQUE = {"1", "L", "RGB", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L", "I;16N", "I"}


class UnreadableFilm(ThoraxError):  # noqa: N818  a film, said as the field says it
    """A film that cannot be decoded, or does not fit the preprocessing. The message names it."""


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
            UnreadableFilm: not a readable JPEG or PNG, or smaller than the crop.
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


def decode(source: Source | bytes, name: str, scaled: Any = None) -> np.ndarray:
    """One grey film.

    JPEGs are decoded at the smallest of libjpeg's scales (1, 1/2, 1/4, 1/8) that is not below the wanted size, from
    their luminance alone, then resized with an antialiasing bilinear filter. 16-bit PNGs are scaled by their full range
    to 8 bits. EXIF orientation is applied; transparency is laid on black.

    Args:
        source: a path, a stretch of a larger file, or the bytes of the film.
        name: what to call the film in errors.
        scaled: maps (width, height) to the wanted (width, height); None keeps the film's own size.

    Returns:
        (h, w) uint8: 0 black to 255 white.

    Raises:
        UnreadableFilm: empty, not JPEG or PNG, damaged, cut short, or larger than MAX_PIXELS.
    """
    if isinstance(source, ByteRange):
        try:
            source = source.read()
        except ThoraxError as error:
            raise UnreadableFilm(str(error)) from None
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS) as image:
            return _grey(image, scaled)
    except UnreadableFilm:
        raise
    except Image.DecompressionBombError:
        raise UnreadableFilm(f"{name} claims more than {MAX_PIXELS} pixels and is not read") from None
    except FileNotFoundError:
        raise UnreadableFilm(f"{name} does not exist") from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error ... for damaged files
        raise UnreadableFilm(f"{name} cannot be read as JPEG or PNG: {_reason(source, error)}") from None


def _grey(image: Image.Image, scaled: Any) -> np.ndarray:
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    target = None
    if scaled is not None:
        width, height = scaled(*(reversed(image.size) if turned else image.size))
        target = (height, width) if turned else (width, height)
        image.draft("L", target)
    image.load()
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if image.mode.startswith("I"):
        wide = np.asarray(image.convert("I"), dtype=np.float32) / 257.0
        grey = Image.fromarray(wide.clip(0, 255))
    elif image.mode in _OPAQUE:
        grey = image.convert("L")
    else:  # palette, LA, RGBA: transparency on black
        colour = image.convert("RGBA")
        grey = Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour).convert("L")
    if target is not None and grey.size != target:
        grey = grey.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0)
    if orientation != 1:
        grey.getexif()[ExifTags.Base.Orientation] = orientation
        grey = ImageOps.exif_transpose(grey)
    pixels = np.asarray(grey)
    return pixels if pixels.dtype == np.uint8 else np.rint(pixels).clip(0, 255).astype(np.uint8)


def _reason(source: Path | bytes, error: Exception) -> str:
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size == 0:
        return "the file is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return "its content is neither"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
