"""Reading native-size JPEGs to 256 px: our one decoder against torchvision's ImageFolder with Resize, one thread each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from torchvision.datasets import ImageFolder
from torchvision.transforms import Resize

from thorax.data.images import Preprocessing


@dataclass(frozen=True)
class Row:
    """One line of the table. `ours` and `peer` are medians over rounds; the ratio is how many times faster ours is."""

    what: str
    peer: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    low: float
    high: float
    target: str
    note: str = ""


def compare(what: str, peer: str, ours: list[float], theirs: list[float], count: int, target: str, note: str = "") -> Row:
    """A row of films per second from the seconds that `count` films took in each round; the ratio is of the medians."""
    each = [b / a for a, b in zip(ours, theirs, strict=True)]
    return Row(what, peer, count / median(ours), count / median(theirs), "films/s", median(theirs) / median(ours), min(each), max(each), target, note)


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(folder: Path, rounds: int, size: int = 256) -> Row:
    """Reads every film of a folder per class, ours and theirs in turn, `rounds` times; the first pass warms the disk cache."""
    peer = ImageFolder(str(folder), transform=Resize((size, size)))
    paths = [Path(path) for path, _ in peer.samples]
    ours = Preprocessing(size, size)
    differences = [np.abs(ours.film(path).astype(np.int16) - np.asarray(peer[k][0].convert("L"), np.int16)) for k, path in enumerate(paths)]
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        seconds[0].append(timed(lambda: [ours.film(path) for path in paths]))
        seconds[1].append(timed(lambda: [peer[k] for k in range(len(paths))]))
    pixels = np.concatenate([d.ravel() for d in differences])
    note = f"pixel difference: mean {pixels.mean():.2f}, 99th percentile {np.percentile(pixels, 99):.0f} of 255 grey levels"
    return compare(f"{len(paths)} native JPEGs to {size} px, one core", f"torchvision ImageFolder + Resize(({size}, {size}))", *seconds, len(paths), "2.5x", note)
