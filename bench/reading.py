"""Reading native-size JPEGs.

Our decoder and Preprocessing against torchvision's ImageFolder with Resize, one thread each.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from torchvision.datasets import ImageFolder
from torchvision.transforms import Resize

from thorax.data.images import Preprocessing

AT_ONCE = 8  #: images that one side reads before it is the other's turn


class Row(NamedTuple):
    """A line of the table, as text."""

    what: str
    ours: str
    peer: str
    ratio: str
    target: str = ""
    note: str = ""


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(what: str, peer: str, images: int, ours: list[float], theirs: list[float], **texts: str) -> Row:
    """Images per second and how many times faster ours is, from each round's seconds for `images` images."""
    each = [b / a for a, b in zip(ours, theirs, strict=True)]
    ratio = f"**{median(theirs) / median(ours):.2f}x** ({min(each):.2f} to {max(each):.2f})"
    return Row(
        what, f"{images / median(ours):.1f} images/s", f"{images / median(theirs):.1f} images/s: {peer}", ratio, **texts
    )


def measure(folder: Path, *, rounds: int, size: int = 256) -> Row:
    """Every image of a folder per class, ours and theirs in turn, few images at a time.

    Comparing the pixels first warms the disk cache.
    """
    peer = ImageFolder(str(folder), transform=Resize((size, size)))
    paths = [Path(path) for path, _ in peer.samples]
    ours = Preprocessing(size, size)
    pixels = np.stack(
        [np.abs(ours.image(path) - np.asarray(peer[k][0].convert("L"), np.int16)) for k, path in enumerate(paths)]
    )
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        took = [0.0, 0.0]
        for start in range(0, len(paths), AT_ONCE):
            few = range(start, min(start + AT_ONCE, len(paths)))
            took[0] += timed(lambda few=few: [ours.image(paths[k]) for k in few])  # type: ignore[misc]
            took[1] += timed(lambda few=few: [peer[k] for k in few])  # type: ignore[misc]
        for told, one in zip(seconds, took, strict=True):
            told.append(one)
    note = (
        f"pixel difference: mean {pixels.mean():.2f}, 99th percentile {np.percentile(pixels, 99):.0f} of 255 grey"
        " levels"
    )
    what = f"Reading {len(paths)} native-size JPEGs to {size} px, one core"
    return compare(
        what, f"torchvision ImageFolder + Resize(({size}, {size}))", len(paths), *seconds, target=">= 2.5x", note=note
    )
