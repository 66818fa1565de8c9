"""Augmentation of whole batches, on whatever device they are on, from random numbers that belong to each image.

Every image has its own draws (see `draws_for`), fixed by seed, epoch and image: not by batch, process or worker. So a
run gives the same pictures for any number of processes, and resumes in the middle of an epoch with nothing to restore.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from thorax.data.views import may_mirror

#: Uniform numbers in [0, 1) that one image needs; each has one meaning, listed where it is used.
DRAWS = 40
DOWN, RIGHT, FLIP, ROTATE, SCALE, ASPECT, SHIFT_X, SHIFT_Y, SHEAR, GAMMA, BLUR, BLUR_MIX, NOISE = range(13)
NOISE_X, NOISE_Y, ERASE, ERASE_X, ERASE_Y, ERASE_W, ERASE_H, ERASE_GREY, LIGHT, CONTRAST = range(13, 23)
SLOPES, FIELD = slice(23, 28), slice(28, 37)  # of the tone curve's 5 stretches; 3x3 points of the field of light
HUE, SATURATION = 37, 38


def draws_for(seed: int, epoch: int, image: int) -> np.ndarray:
    """(DRAWS,) float32 in [0, 1): the random numbers of one image in one epoch, from a counter-based generator."""
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, image]))
    return generator.random(DRAWS, dtype=np.float32)


#: Pixels that a CPU augments at once, so that what lies between two operations stays in its cache.
CACHED = 2**18


@dataclass(frozen=True)
class AugmentationRanges:
    """How far augmentation goes. Angles in degrees, shifts and boxes as shares of the image, greys in 0..1.

    Hue in turns, saturation as a share of itself: neither gives colour to what has none.
    """

    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    log_aspect: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    log_gamma: float = 0.0
    log_slope: float = 0.0  # of the tone curve
    log_light: float = 0.0  # of the smooth field of light
    blur_chance: float = 0.0
    noise: float = 0.0
    erase_chance: float = 0.0
    lightness: float = 0.0
    contrast: float = 0.0
    hue: float = 0.0
    saturation: float = 0.0
    flip: bool = False

    @classmethod
    def named(cls, name: str, strength: float = 1.0) -> AugmentationRanges:
        """The ranges of an `augmentation_type`; `strength` scales those of xray."""
        if name == "xray":
            s = strength
            return cls(
                rotation=15 * s,
                scale=(1 - 0.25 * min(s, 2.0), 1 + 0.15 * s),
                log_aspect=0.15 * s,
                shift=0.12 * s,
                log_slope=1.0 * s,
                log_light=0.35 * s,
                blur_chance=min(1.0, 0.3 * s),
                noise=0.03 * s,
                erase_chance=min(1.0, 0.4 * s),
            )
        flip = may_mirror(name)
        colour = name in ("crop_color", "crop_color_transform")
        warp = name == "crop_color_transform"
        return cls(
            flip=flip,
            lightness=50 / 255 if colour else 0.0,
            contrast=0.2 if colour else 0.0,
            hue=36 / 360 if colour else 0.0,  # as the built-in algorithm documents it, in degrees
            saturation=50 / 255 if colour else 0.0,
            rotation=10.0 if warp else 0.0,
            shear=0.1 if warp else 0.0,
            log_aspect=math.log(1.25) if warp else 0.0,
        )

    @property
    def moves(self) -> bool:
        """Whether images are resampled."""
        return bool(self.rotation or self.shift or self.shear or self.log_aspect or self.scale != (1.0, 1.0))


@dataclass
class Augmentation:
    """Augments images, as far as `ranges` allow."""

    ranges: AugmentationRanges
    _noise: torch.Tensor | None = field(default=None, repr=False)

    def __call__(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Augmented images.

        Args:
            images: (N, H, W) uint8, or (N, H, W, 3) in colour.
            draws: (N, DRAWS) float32 in [0, 1), on the same device.

        Returns:
            The same shape, float32 in 0..255.
        """
        channels = images.movedim(3, 1) if images.ndim == 4 else images.unsqueeze(1)
        few = max(1, CACHED // channels[0].numel())
        if images.device.type != "cpu" or len(images) <= few:
            x = self._together(channels, draws)
        else:
            x = torch.empty(channels.shape, dtype=torch.float32)
            for k in range(0, len(images), few):
                x[k : k + few] = self._together(channels[k : k + few], draws[k : k + few])
        return x.movedim(1, 3) if images.ndim == 4 else x.squeeze(1)

    def _together(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) of any kind to float32 in 0..255. Every channel gets what the image's draws say, as planes
        (N * C, H, W) of which C after one another are an image; only colours are seen together."""
        r, u = self.ranges, draws.to(torch.float32)
        count, depth, h, w = images.shape
        each = u.repeat_interleave(depth, 0) if depth > 1 else u  # the draws of every plane
        planes = images.reshape(-1, h, w)
        x = _tone(planes, each, r) if r.log_gamma or r.log_slope else planes.to(torch.float32).div_(255.0)
        if r.log_light:
            x.view(count, depth, h, w).mul_(_light(u, r.log_light, h, w)[:, None])
        if r.flip:
            x = torch.where(each[:, FLIP, None, None] < 0.5, x.flip(-1), x)
        if r.moves:
            x = _move(x.view(count, depth, h, w), u, r).view(-1, h, w)
        if depth == 3 and (r.hue or r.saturation):
            x = _recolour(x.view(count, depth, h, w), u, r).view(-1, h, w)
        if r.contrast or r.lightness:
            gain = 1 + (2 * each[:, CONTRAST] - 1) * r.contrast
            shift = (2 * each[:, LIGHT] - 1) * r.lightness
            x = ((x - 0.5) * gain[:, None, None] + 0.5 + shift[:, None, None]).clamp(0, 1)
        if r.blur_chance:
            x = _blur(x, each, r.blur_chance)
        if r.noise:
            x = self._add_noise(x, each)
        if r.erase_chance:
            x = _erase(x, each, r.erase_chance)
        return x.clamp_(0.0, 1.0).mul_(255.0).view(count, depth, h, w)

    def draw_grain(self, height: int, width: int, device: torch.device) -> None:
        """Draws the tile of grain for images of this size, as the first batch would: torch.compile cannot."""
        if self.ranges.noise:
            generator = torch.Generator().manual_seed(20260)
            self._noise = torch.randn(2 * height, 2 * width, generator=generator).to(device)

    def _add_noise(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Gaussian grain cut at a random place from one tile twice the image's size, up to `noise` strong."""
        _, h, w = x.shape
        if self._noise is None or self._noise.shape != (2 * h, 2 * w) or self._noise.device != x.device:
            self.draw_grain(h, w, x.device)
        assert self._noise is not None
        top, left = (u[:, NOISE_Y] * h).long(), (u[:, NOISE_X] * w).long()
        strength = u[:, NOISE] * self.ranges.noise
        if x.device.type == "cpu":
            for k, (t, s) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
                x[k].add_(self._noise[t : t + h, s : s + w] * strength[k])
            return x
        rows = top[:, None] + torch.arange(h, device=x.device)  # the CPU does not wait for the numbers
        columns = left[:, None] + torch.arange(w, device=x.device)
        return x + self._noise[rows[:, :, None], columns[:, None, :]] * strength[:, None, None]


def _tone(images: torch.Tensor, u: torch.Tensor, r: AugmentationRanges) -> torch.Tensor:
    """(N, H, W) in 0..1: each image's greys through a curve of its own that rises from 0 to 1, as a table of 256 greys.

    The curve is a gamma, then five straight stretches of random slopes: other tubes, detectors and darkrooms.
    """
    gamma = torch.exp((2 * u[:, GAMMA, None] - 1) * r.log_gamma)
    grey = torch.linspace(0, 1, 256, device=images.device)[None].pow(gamma)
    rises = torch.exp((2 * u[:, SLOPES] - 1) * r.log_slope)
    knots = F.pad(torch.cumsum(rises, 1) / rises.sum(1, keepdim=True), (1, 0))
    stretches = rises.shape[1]
    left = (grey * stretches).long().clamp(max=stretches - 1)
    share = grey * stretches - left
    curve = knots.gather(1, left) * (1 - share) + knots.gather(1, left + 1) * share
    return curve.gather(1, images.flatten(1).long()).view(images.shape)


def _light(u: torch.Tensor, log_light: float, height: int, width: int) -> torch.Tensor:
    """(N, height, width) factors around 1: a smooth surface through 3x3 random points, like heel effect and scatter."""
    points = ((2 * u[:, FIELD] - 1) * log_light).view(-1, 3, 3)
    three = torch.eye(3, device=u.device)[None, None]
    sizes = ((height, 3), (width, 3))
    down, right = (F.interpolate(three, size=size, mode="bicubic", align_corners=True)[0, 0] for size in sizes)
    return (down @ points @ right.T).exp_()  # far faster than to interpolate each image


def _move(x: torch.Tensor, u: torch.Tensor, r: AugmentationRanges) -> torch.Tensor:
    """(N, C, H, W): rotation, scale, aspect, shear and shift in one bilinear resampling; from outside comes black."""
    h, w = x.shape[-2:]
    angle = (2 * u[:, ROTATE] - 1) * math.radians(r.rotation)
    low, high = r.scale
    scale = low + u[:, SCALE] * (high - low)
    aspect = torch.exp((2 * u[:, ASPECT] - 1) * r.log_aspect / 2)
    shear = (2 * u[:, SHEAR] - 1) * r.shear
    cos, sin = torch.cos(angle), torch.sin(angle)
    # From output to input coordinates in -1..1; w/h keeps a rotation a rotation on images that are not square.
    right, down = (2 * u[:, SHIFT_X] - 1) * 2 * r.shift, (2 * u[:, SHIFT_Y] - 1) * 2 * r.shift
    across = cos / (scale * aspect), (-sin + shear * cos) * h / w / (scale * aspect), right
    along = sin * w / h * aspect / scale, (cos + shear * sin) * aspect / scale, down
    grid = torch.stack([_places(weights, h, w) for weights in (across, along)], 3)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False).contiguous()


def _recolour(x: torch.Tensor, u: torch.Tensor, r: AugmentationRanges) -> torch.Tensor:
    """(N, 3, H, W) RGB in 0..1: hue and saturation of HSL changed, lightness kept. Grey stays as it is, to the bit.

    Source: the hexagon of hues, A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978.
    """
    turn = ((2 * u[:, HUE] - 1) * r.hue)[:, None, None]
    gain = (1 + (2 * u[:, SATURATION] - 1) * r.saturation)[:, None, None]
    red, green, blue = x.unbind(1)
    high, low = x.amax(1), x.amin(1)
    chroma, doubled = high - low, high + low  # doubled: twice the lightness
    some = chroma.clamp(min=1e-12)
    hue = torch.where(high == green, 2 + (blue - red) / some, 4 + (red - green) / some)
    hue = torch.where(high == red, (green - blue) / some, hue) + 6 * turn  # in sixths of a turn
    chroma = torch.minimum(chroma * gain, 1 - (doubled - 1).abs())
    top = (doubled + chroma) / 2
    places = ((hue + k).remainder(6) for k in (5, 3, 1))
    return torch.stack([top - chroma * torch.minimum(place, 4 - place).clamp(0, 1) for place in places], 1)


def _places(weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor], height: int, width: int) -> torch.Tensor:
    """(N, height, width) of a * x + b * y + c, each (N,), over pixel centres in -1..1: F.affine_grid, far faster."""
    a, b, c = (weight[:, None] for weight in weights)
    y, x = ((torch.arange(size, device=c.device) * 2 + 1) / size - 1 for size in (height, width))
    return (a * x)[:, None, :] + (b * y + c)[:, :, None]


def _blur(x: torch.Tensor, u: torch.Tensor, chance: float) -> torch.Tensor:
    """A binomial 5x5 blur, (1 4 6 4 1)/16 along both sides, mixed in by a random share on `chance` of the images."""
    blurred = u[:, BLUR] < chance
    if x.device.type == "cpu":  # those alone; a GPU would wait for the answer which
        for k in blurred.nonzero().flatten().tolist():
            one = x[k : k + 1]
            one.add_(u[k, BLUR_MIX] * (_soft(one) - one))
        return x
    share = torch.where(blurred, u[:, BLUR_MIX], torch.zeros_like(u[:, BLUR]))[:, None, None]
    return x + share * (_soft(x) - x)


def _soft(x: torch.Tensor) -> torch.Tensor:
    """Sums of slices: far faster on a CPU than a convolution of one channel."""
    h, w = x.shape[-2:]
    p = F.pad(x.unsqueeze(1), (2, 2, 2, 2), mode="replicate").squeeze(1)
    p = (p[:, :h] + p[:, 4:] + 4 * (p[:, 1 : h + 1] + p[:, 3 : h + 3]) + 6 * p[:, 2 : h + 2]) / 16
    return (p[:, :, :w] + p[:, :, 4:] + 4 * (p[:, :, 1 : w + 1] + p[:, :, 3 : w + 3]) + 6 * p[:, :, 2 : w + 2]) / 16


def _erase(x: torch.Tensor, u: torch.Tensor, chance: float) -> torch.Tensor:
    """A box of 10 to 40 % of each side, filled with one grey, on `chance` of the images."""
    _, h, w = x.shape
    rows = torch.arange(h, device=x.device)[None, :] / h
    columns = torch.arange(w, device=x.device)[None, :] / w
    tall, wide = 0.1 + 0.3 * u[:, ERASE_H], 0.1 + 0.3 * u[:, ERASE_W]
    top, left = u[:, ERASE_Y] * (1 - tall), u[:, ERASE_X] * (1 - wide)
    in_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    in_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    if x.device.type == "cpu":
        for k in (u[:, ERASE] < chance).nonzero().flatten().tolist():
            starts = (int(side[k].int().argmax()) for side in (in_rows, in_columns))
            sizes = (int(side[k].sum()) for side in (in_rows, in_columns))  # perhaps 0, of a few pixels
            x[k][tuple(slice(a, a + size) for a, size in zip(starts, sizes, strict=True))] = u[k, ERASE_GREY]
        return x
    inside = in_rows[:, :, None] & in_columns[:, None, :] & (u[:, ERASE] < chance)[:, None, None]
    return torch.where(inside, u[:, ERASE_GREY, None, None].expand_as(x), x)
