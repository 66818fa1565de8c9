"""The one Preprocessing: any image becomes grey or RGB, of one size, alike in training and in every server."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thorax.data.decoders import GRAY, GREY, RGB, DecodeError, decode
from thorax.data.source import Source
from thorax.errors import ThoraxError

if TYPE_CHECKING:
    import torch


#: Mean and std of ImageNet's red, green and blue / 255, as torchvision and timm have them.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: Shares of red, green and blue in grey: ITU-R BT.601.
_LUMINANCE = (0.299, 0.587, 0.114)
#: A number for grey, or one for each channel.
Levels = float | tuple[float, ...]


def imagenet(channels: int) -> tuple[Levels, Levels]:
    """Mean and std of ImageNet for 3 channels; for one the grey of these colours: 0.459 and 0.226."""
    if channels == 3:
        return IMAGENET
    mean, std = (sum(share * v for share, v in zip(_LUMINANCE, row, strict=True)) for row in IMAGENET)
    return mean, std


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input. Stored in the bundle and used by training, evaluation and servers.

    Attributes:
        height, width: pixels of the result.
        channels: of the network's input: 1, or 3. Of grey images all 3 hold the grey.
        fit: stretch (whole image, aspect given up), crop (centre crop) or pad (whole image on black).
        resize: with crop: the short side is scaled to this first; None crops the image as it is.
        normalization: image (each image, all of its channels together, to mean 0 and std 1); or fixed, dataset or
            imagenet: (level/255 - mean) / std.
        mean, std: of level / 255, but for normalization=image: one number, or one for each channel.
        grey: the rules from pixels to grey levels (decoders.GREY). A stored description without it has 1, and keeps
            giving the pixels that its network was trained with.
    """

    height: int
    width: int
    channels: int = 1
    fit: str = "stretch"
    resize: int | None = None
    normalization: str = "image"
    mean: Levels = 0.5
    std: Levels = 0.25
    grey: int = GREY
    color: str = GRAY

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a prepared image: (height, width), or (height, width, 3) in colour."""
        return (self.height, self.width, 3) if self.color == RGB else (self.height, self.width)

    def image(self, source: Source | bytes, name: str = "") -> np.ndarray:
        """Decodes one image and brings it to its size.

        Args:
            source: a path, a stretch of a larger file, or the bytes of the image.
            name: what to call the image in errors; default: the source.

        Returns:
            (height, width) uint8: 0 black to 255 white; with color=rgb (height, width, 3).

        Raises:
            DecodeError: it cannot be decoded, or is smaller than the crop.
        """
        name = name or (f"an image of {len(source)} bytes" if isinstance(source, bytes) else str(source))
        size = self._scaled_for if self.fit != "crop" or self.resize else None
        return self._place(decode(source, name, size, self.grey, self.color), name)

    def _scaled_for(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that an image is scaled to before it is placed."""
        if self.fit == "stretch":
            return self.width, self.height
        if self.fit == "pad":
            scale = min(self.width / width, self.height / height)
        else:
            assert self.resize is not None
            scale = self.resize / min(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _place(self, image: np.ndarray, name: str) -> np.ndarray:
        """The image as (height, width[, 3]); crop without resize and training's random crops need the whole image."""
        if self.fit == "pad":
            placed = np.zeros(self.shape, np.uint8)
            top, left = (self.height - image.shape[0]) // 2, (self.width - image.shape[1]) // 2
            placed[top : top + image.shape[0], left : left + image.shape[1]] = image
            return placed
        if self.fit == "crop":
            return self.crop(image, name, 0.5, 0.5)
        return image

    def crop(self, image: np.ndarray, name: str, down: float, right: float) -> np.ndarray:
        """(height, width[, 3]) cut from a larger image; `down` and `right` in 0..1 say where, 0.5 is the middle.

        Raises:
            DecodeError: the image is smaller than the crop.
        """
        spare_h, spare_w = image.shape[0] - self.height, image.shape[1] - self.width
        if spare_h < 0 or spare_w < 0:
            raise DecodeError(
                f"{name} has {image.shape[1]}x{image.shape[0]} pixels, less than the crop of"
                f" {self.width}x{self.height}; set resize={max(self.height, self.width)} or more, or fit=stretch"
            )
        top, left = round(down * spare_h), round(right * spare_w)
        return np.ascontiguousarray(image[top : top + self.height, left : left + self.width])

    def uncropped(self, source: Source | bytes, name: str) -> np.ndarray:
        """The scaled image before the crop, (h, w[, 3]) uint8, for training's random crops."""
        return decode(source, name, self._scaled_for if self.resize else None, self.grey, self.color)

    def tensor(self, images: torch.Tensor) -> torch.Tensor:
        """The network's input.

        Args:
            images: (N, height, width[, 3]) uint8, or float32 in 0..255 after augmentation.

        Returns:
            (N, channels, height, width) float32, on the images' device.
        """
        import torch  # late: a server without torch uses `array`

        x = images.to(torch.float32)
        x = x.movedim(3, 1) if x.ndim == 4 else x.unsqueeze(1)
        if self.normalization == "image":
            std, mean = torch.std_mean(x, dim=(1, 2, 3), keepdim=True, correction=0)
            x = (x - mean) / std.clamp(min=1.0)
        else:
            levels = [
                torch.tensor(v, device=x.device)[:, None, None] if isinstance(v, tuple) else v
                for v in (self.mean, self.std)
            ]
            x = (x / 255.0 - levels[0]) / levels[1]
        return x.expand(-1, self.channels, -1, -1) if x.shape[1] < self.channels else x

    def array(self, images: np.ndarray) -> np.ndarray:
        """As `tensor`, in numpy: (N, height, width[, 3]) uint8 -> (N, channels, height, width) float32."""
        x = images.astype(np.float32)
        x = np.ascontiguousarray(np.moveaxis(x, 3, 1)) if x.ndim == 4 else x[:, None]
        if self.normalization == "image":
            rows = x.reshape(len(x), -1)
            rows -= rows.mean(axis=1, keepdims=True)
            std = np.sqrt(np.square(rows).mean(axis=1))
            rows *= np.float32(1) / np.maximum(std, np.float32(1))[:, None]
        else:
            mean, std = self._columns()
            x = (x / np.float32(255) - mean) / std
        return np.repeat(x, self.channels, axis=1) if x.shape[1] < self.channels else x

    def levels(self, x: np.ndarray) -> np.ndarray:
        """The picture that a network's input shows: (N, channels, height, width) -> (N, height, width[, 3]) uint8.

        With normalization=image black and white are lost: each image goes from its darkest to its brightest value.
        """
        if self.normalization == "image":
            low, high = (edge(x, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
            x = (x - low) / np.maximum(high - low, 1e-12)
        else:
            mean, std = self._columns()
            x = x * std + mean
        found = np.rint(np.moveaxis(x, 1, 3) * 255).clip(0, 255).astype(np.uint8)
        return found if self.color == RGB else np.ascontiguousarray(found[..., 0])

    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and std as (1 or channels, 1, 1) float32."""
        mean, std = (np.array(v, np.float32).reshape(-1, 1, 1) for v in (self.mean, self.std))
        return mean, std

    def to_dict(self) -> dict[str, Any]:
        """The description as bundles store it, in the words of bundle format 1: normalization=film, deviation."""
        stored = asdict(self)
        stored["deviation"] = stored.pop("std")
        if self.grey == 1:  # as it was stored before there were others: the fingerprint stays
            del stored["grey"]
        if self.color == GRAY:
            del stored["color"]
        stored["normalization"] = "film" if self.normalization == "image" else self.normalization
        return stored

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Preprocessing:
        """The inverse of to_dict.

        Raises:
            ThoraxError: the description is of a newer version, whose rules are not known here.
        """
        if not 1 <= stored.get("grey", 1) <= GREY:
            raise ThoraxError(
                f"its pixels follow the rules {stored['grey']} (preprocessing.grey), this program knows 1 to {GREY};"
                " update it"
            )
        known: dict[str, Any] = {"grey": 1} | {
            ("std" if name == "deviation" else name): value for name, value in stored.items()
        }
        if known.get("color", GRAY) not in (GRAY, RGB):
            raise ThoraxError(
                f"its color={known['color']} (preprocessing.color) is not one of {GRAY}, {RGB}; update this program"
            )
        known |= {name: tuple(v) for name in ("mean", "std") if isinstance(v := known.get(name), list)}
        known["normalization"] = "image" if known["normalization"] == "film" else known["normalization"]
        if also := known.pop("also", ()):
            from thorax.data.joint_preprocessing import JointPreprocessing  # late: it is made of this

            return JointPreprocessing(**known, also=tuple(map(cls.from_dict, also)))
        return cls(**known)

    def fingerprint(self) -> str:
        """Hash of the description; a bundle with another one prepares images in another way."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
