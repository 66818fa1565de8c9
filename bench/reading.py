"""Reading native-size JPEGs.

Our decoder and Preprocessing against torchvision's ImageFolder with Resize, one thread each.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision.datasets import ImageFolder
from torchvision.transforms import Resize

from fair import Row, compare, rounds, timed
from thorax.data.images import Preprocessing

AT_ONCE = 8  #: images that one side reads before it is the other's turn


def measure(folder: Path, *, limit: float, size: int = 256) -> Row:
    """Every image of a folder per class, ours and theirs in turn, few images at a time.

    Comparing the pixels first warms the disk cache. limit: seconds.
    """
    peer = ImageFolder(str(folder), transform=Resize((size, size)))
    paths = [Path(path) for path, _ in peer.samples]
    ours = Preprocessing(size, size)
    pixels = np.stack(
        [np.abs(ours.image(path) - np.asarray(peer[k][0].convert("L"), np.int16)) for k, path in enumerate(paths)]
    )
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in rounds(limit):
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
