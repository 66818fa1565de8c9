"""One synthetic frontal chest X-ray: schematic, deterministic, with known findings.

An image is the sum of what the rays cross (tissue less the air in the lungs, heart, bone, findings) on a grid in chest
units, then exposed. Image left is the patient's right. No number measured on such images says anything about patients.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from thorax.errors import ThoraxError

#: Everything draw_image can show besides a normal chest, and the label names of write_table.
FINDINGS: tuple[str, ...] = ("Cardiomegaly", "Consolidation", "Effusion", "Nodule", "Pneumothorax")

Plane = np.ndarray[Any, np.dtype[Any]]  # (H, W) float32
Radiograph = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Anatomy:
    """One patient's build, the same on all images of the patient. Unit: about half the width of the body."""

    width: float  #: half the inner width of the rib cage, 0.70 to 0.82
    apex: float  #: height of the lung tips above the centre, 0.70 to 0.84
    base: float  #: depth of the diaphragm dome on image left below the centre, 0.34 to 0.52
    drop: float  #: how much lower the dome on image right lies, 0.02 to 0.08
    heart: float  #: cardiothoracic ratio without Cardiomegaly, 0.39 to 0.49
    tilt: float  #: turn of the heart's long axis, 0.4 to 0.8 radians
    build: float  #: thickness of the soft tissue, 0 (slight) to 1 (heavy)
    breast: float  #: density of the breast shadows, 0 to 0.07
    spacing: float  #: distance between ribs, 0.125 to 0.150
    slope: float  #: steepness of the ribs, 0.35 to 0.65
    clavicle: float  #: steepness of the clavicles, 0.08 to 0.30

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Anatomy:
        """A patient at random, every attribute within its range."""
        low = (0.70, 0.70, 0.34, 0.02, 0.39, 0.40, 0.0, 0.00, 0.125, 0.35, 0.08)
        high = (0.82, 0.84, 0.52, 0.08, 0.49, 0.80, 1.0, 0.07, 0.150, 0.65, 0.30)
        return cls(*map(float, rng.uniform(low, high)))


def _soft(distance: Plane, edge: float) -> Plane:
    """0 outside, 1 inside, a smooth step `edge` wide where the distance is 0."""
    t = np.clip(distance * (1.0 / edge) + 0.5, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _bump(distance: Plane, width: float) -> Plane:
    return np.exp(-np.square(distance * (1.0 / width)))


def _length(x: Plane, y: Plane) -> Plane:
    return np.asarray(np.sqrt(x * x + y * y))  # five times as fast as np.hypot


def _clouds(rng: np.random.Generator, size: tuple[int, int], cells: int) -> Plane:
    """Smooth noise (H, W) of about unit spread, `cells` lumps a side."""
    grid = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _along(angle: Plane, values: Plane) -> Plane:
    """`values` (n,) spread over angles -4 to 11 and read at `angle` (H, W), straight lines between them."""
    place = (angle + 4.0) * ((len(values) - 1) / 15.0)
    step = place.astype(np.int32)
    return values[step] + (place - np.floor(place)) * np.diff(values)[step]


def _grid(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Plane, Plane]:
    """Coordinates x, y (H, W) in chest units, y down, under a slight turn, shift and change of scale."""
    turn, dx, dy, zoom = map(float, rng.uniform((-0.07, -0.06, -0.07, 0.94), (0.07, 0.06, 0.07, 1.10)))
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    # Half of an image's stretch goes into the patient's shape, half into a wider view.
    x = (x - (size[1] - 1) / 2) * (2 / zoom / math.sqrt(size[1] * min(size))) - dx
    y = (y - (size[0] - 1) / 2) * (2 / zoom / math.sqrt(size[0] * min(size))) - dy
    return math.cos(turn) * x + math.sin(turn) * y, math.cos(turn) * y - math.sin(turn) * x


def _lung(ax: Plane, y: Plane, patient: Anatomy, inset: float = 0.0) -> Plane:
    """Depth inside one lung's outline (negative outside), open below; `ax` grows away from the midline.

    `inset` gives the outline of a collapsed lung: off the apex and the side wall, less so further down.
    """
    fall = np.clip(1.0 - (y + patient.apex - inset) / (patient.apex + 0.55), 0.0, None)
    shift = 0.5 * inset * np.minimum(0.25 + fall, 1.0)
    centre = patient.width * 0.53 - 0.13 * np.minimum(fall, 1.0) - shift
    across = (ax - centre) / (patient.width * 0.47 - shift)
    return (1.0 - across * across - fall**2.6) * (patient.width * 0.235)


def _bones(ax: Plane, y: Plane, cage: Plane, patient: Anatomy) -> Plane:
    """Density (H, W) of the ribs behind and in front, clavicles, spine, shoulder joints and shoulder blades."""
    back = (y - 0.04 * ax - patient.slope * ax**2.4 + patient.apex) / patient.spacing
    back = np.abs(back - np.round(back))
    front = (y + 0.75 * patient.slope * (1.6 * ax - 0.6 * ax * ax) + 0.3) / (1.12 * patient.spacing)
    front = np.abs(front - np.round(front))
    ribs = 0.055 * _soft(0.25 - back, 0.14) + 0.035 * _bump(back - 0.23, 0.05)
    ribs += 0.05 * _soft(0.28 - front, 0.22) * _soft(ax - 0.30, 0.22) * _soft(y + 0.45, 0.2)
    bones = ribs * _soft(cage + 0.03, 0.04) * _soft(0.72 - y, 0.5) * _soft(ax - 0.05, 0.05)
    bones += 0.05 * _bump(cage, 0.022) * _soft(0.75 - y, 0.4)
    along = (ax - 0.07) / 0.62
    off = np.abs(y + patient.apex - 0.22 + patient.clavicle * (ax - 0.1) - 0.035 * np.sin(6.0 * along))
    off -= 0.026 + 0.012 * np.square(2.0 * along - 1.0)
    bones += (0.10 * _soft(-off, 0.02) + 0.05 * _bump(off, 0.01)) * _soft(along, 0.08) * _soft(1.02 - along, 0.1)
    discs = np.abs(y / 0.115 - np.round(y / 0.115))
    bones += (0.036 + 0.024 * _soft(discs - 0.12, 0.15)) * _soft(0.085 - ax, 0.03)
    bones += 0.13 * _soft(0.14 - _length(ax - 0.93, y + 0.62), 0.05)
    blade = ax - 0.70 - 0.12 * np.sin(3.0 * y + 1.2)
    return bones + 0.05 * _soft(blade, 0.03) * _soft(0.25 - blade, 0.2) * _soft(0.02 - y, 0.2) * _soft(y + 0.6, 0.2)


def draw_radiograph(
    rng: np.random.Generator,
    findings: Collection[str],
    anatomy: Anatomy | None = None,
    size: tuple[int, int] = (320, 300),
) -> Radiograph:
    """One image. Each part draws from its own stream: two images of one seed differ only where their findings do.

    Args:
        rng: source of the image's seeds; the same state gives the same image.
        findings: names out of FINDINGS, none for a normal image. Each is drawn anywhere from subtle to plain.
        anatomy: the patient; None draws one.
        size: (height, width) in pixels, each at least 64.

    Returns:
        (H, W) uint8, 0 black (air) to 255 white (dense).

    Raises:
        ThoraxError: an unknown finding or a size that is too small.
    """
    if unknown := sorted(set(findings) - set(FINDINGS)):
        raise ThoraxError(f"finding {', '.join(unknown)} is not one of {', '.join(FINDINGS)}")
    if min(size) < 64:
        raise ThoraxError(f"size={size[0]}x{size[1]} is too small for a chest X-ray; give 64 pixels a side or more")
    streams = [np.random.default_rng(seed) for seed in rng.integers(0, 2**63, size=4 + len(FINDINGS))]
    pose, exposure, texture = streams[1:4]
    how = dict(zip(FINDINGS, streams[4:], strict=True))
    patient = anatomy or Anatomy.draw(streams[0])
    x, y = _grid(pose, size)
    ax, left = np.abs(x), _soft(x, 0.02)
    clouds, fine = _clouds(texture, size, 7), _clouds(texture, size, 24)

    # Soft tissue: neck, shoulders, trunk, breasts, and the belly below the diaphragm.
    trunk = 0.24 + 0.74 * _soft(y + 0.84, 0.42) - 0.10 * _soft(y + 0.1, 0.7) + 0.06 * patient.build
    below = _soft(y - patient.base - patient.drop * left - 1.5 * np.square(ax - 0.42 * patient.width), 0.06)
    cage = _lung(ax, y, patient)
    tissue = 0.42 + 0.10 * patient.build + 0.12 * np.sqrt(np.clip(1.0 - np.square(ax / trunk), 0.0, 1.0))
    tissue += (0.22 - 0.06 * left) * below * _soft(np.maximum(cage, 0.3 - ax) + 0.04, 0.08)
    tissue += patient.breast * _soft(0.32 - _length((ax - 0.40) / 1.15, y - 0.22), 0.06)

    # What stands in the middle: heart, great vessels with the aortic knob, spine and gullet.
    ratio = float(how["Cardiomegaly"].uniform(0.49, 0.64)) if "Cardiomegaly" in findings else patient.heart
    cos, sin = math.cos(patient.tilt), math.sin(patient.tilt)
    long = ratio * patient.width / math.sqrt(cos**2 + 0.5 * sin**2)
    hx, hy = x - 0.30 * ratio * patient.width, y - (patient.base + patient.drop - 0.56 * long)
    heart = _soft(long - _length(cos * hx + sin * hy, (cos * hy - sin * hx) / 0.707), 0.07)
    vessels = _soft(1.0 - _length((x - 0.05 - 0.05 * y) / 0.19, (y + 0.06) / 0.34), 0.35)
    column = _soft(0.105 + 0.02 * _soft(y - 0.1, 0.6) - np.abs(x - 0.015), 0.05)
    knob = _soft(0.095 - _length(x - 0.085, y + 0.33), 0.04)
    middle = 1.0 - (1.0 - np.maximum(column, knob)) * (1.0 - heart) * (1.0 - vessels)

    # Lung markings fan out from the roots; findings take the air away, or the markings, or add their own shadow.
    root = _length(ax - 0.17, y + 0.06)
    fan = np.arctan2(y + 0.06, ax - 0.17) + 7.0 * left + 0.10 * clouds + 0.03 * fine
    coarse, thin = texture.standard_normal(60).astype(np.float32), texture.standard_normal(160).astype(np.float32)
    marks = _bump(_along(fan, coarse) * root, 0.020)
    marks += 0.7 * _bump(_along(fan, thin) * root, 0.016) * _soft(root - 0.2, 0.2)
    marks = np.clip(marks * np.exp(-root / 0.26) + 0.7 * _bump(root, 0.09), 0.0, 1.0)
    filled, shadow = np.zeros_like(x), np.zeros_like(x)
    if "Consolidation" in findings:
        sign, strength = _side(how["Consolidation"]), float(how["Consolidation"].uniform(0.22, 0.90))
        for _ in range(int(how["Consolidation"].integers(1, 4))):
            across, down, wide, high = _place(how["Consolidation"], patient, (0.11, 0.11), (0.24, 0.24))
            patch = np.exp(-np.square((x - sign * across) / wide) - np.square((y - down - 0.1) / high))
            filled = np.maximum(filled, patch)
        filled = np.clip(strength * filled * np.clip(1.0 + 0.22 * clouds + 0.18 * fine, 0.3, 1.5), 0.0, 0.9)
    if "Effusion" in findings:
        sign, rise = _side(how["Effusion"]), float(how["Effusion"].uniform(0.16, 0.75))
        meniscus = 0.30 * (1.0 - np.exp(-np.clip(patient.width - ax, 0.0, None) / 0.22))
        level = patient.base + patient.drop * (sign > 0) + 0.30 - rise
        filled = np.maximum(filled, 0.95 * _soft(y - level - meniscus, 0.06) * (x * sign > 0))
    if "Nodule" in findings:
        sign = _side(how["Nodule"])
        across, down, radius, dense = _place(how["Nodule"], patient, (0.055, 0.14), (0.095, 0.42))
        shadow += dense * _soft(radius - _length(x - sign * across, y - down), 0.025)
    if "Pneumothorax" in findings:
        sign, inset = _side(how["Pneumothorax"]), float(how["Pneumothorax"].uniform(0.10, 0.34))
        collapsed = _lung(ax, y, patient, inset)
        empty = (1.0 - _soft(collapsed, 0.02)) * (x * sign > 0)
        marks *= 1.0 - empty
        shadow += (0.09 * _bump(collapsed, 0.009) + 0.06 * _soft(collapsed, 0.04)) * (x * sign > 0) - 0.10 * empty

    air = _soft(cage, 0.05) * (1.0 - below)
    rays = tissue + air * shadow + 0.07 * middle + 0.07 * heart * (1.0 - below) + _bones(ax, y, cage, patient)
    rays -= air * (1.0 - 0.92 * middle) * (1.0 - filled) * (0.36 - 0.20 * marks - 0.012 * clouds - 0.008 * fine)
    windpipe = 0.035 + 0.5 * np.clip(y + 0.16, 0.0, 0.06) - np.abs(ax - 1.2 * np.clip(y + 0.18, 0.0, 0.2))
    rays -= 0.15 * _soft(windpipe, 0.03) * _soft(-0.06 - y, 0.1)
    return _expose(exposure, rays * _soft(trunk - ax, 0.05), x, y)


def _side(rng: np.random.Generator) -> int:
    return int(rng.choice((-1, 1)))  # image left, image right


def _place(rng: np.random.Generator, patient: Anatomy, low: Sequence[float], high: Sequence[float]) -> Iterator[float]:
    """A place in a lung clear of the heart: distance from the midline, y, then one value for each of `low`."""
    start = 0.42 * patient.width + 0.08
    return map(float, rng.uniform((start, -0.40, *low), (start + 0.26 * patient.width, 0.14, *high)))


def _expose(rng: np.random.Generator, rays: Plane, x: Plane, y: Plane) -> Radiograph:
    """Densities to grey levels: exposure, contrast, an uneven field, grain, and the letter L on the patient's left."""
    low, high = (1.02, 0.85, -0.03, 0.010, -0.05, -0.05), (1.25, 1.30, 0.05, 0.028, 0.05, 0.05)
    gain, gamma, black, grain, across, down = map(float, rng.uniform(low, high))
    image = gain * (1.0 - np.exp(-1.55 * np.clip(rays, 0.0, None))) ** gamma + black
    image = np.clip(image * (1.0 + across * x + down * y), 0.0, 1.0)
    noise = np.asarray(rng.standard_normal(rays.shape, dtype=np.float32))
    noise[1:] = 0.75 * noise[1:] + 0.45 * noise[:-1]
    image = image + grain * noise * (0.5 + image)
    stem = (np.abs(x - 0.83) < 0.012) & (np.abs(y + 0.89) < 0.05)
    foot = (np.abs(x - 0.85) < 0.03) & (np.abs(y + 0.85) < 0.012)
    image = np.where(stem | foot, 0.93, np.clip(image, 0.0, 1.0))
    return (image * 255.0 + 0.5).astype(np.uint8)
