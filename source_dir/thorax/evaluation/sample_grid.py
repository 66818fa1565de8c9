"""A few images of each class: what a set looks like, and whether its labels are what they seem."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from thorax.data.decoders import decode, header
from thorax.data.source import Source
from thorax.errors import ThoraxError
from thorax.evaluation.arrays import Array

#: Images of a class, classes at most, and pixels of a picture's longer side.
EACH, CLASSES, SIDE = 5, 40, 112
#: The class of images that have none of several labels.
NONE = "none of the labels"


@dataclass(frozen=True)
class Shown:
    """One image of a class: its name, all of its labels as text, and a JPEG (empty where it cannot be read)."""

    name: str
    labels: str
    picture: bytes


@dataclass(frozen=True)
class ClassSamples:
    """A class, how many images it has, and some of them."""

    name: str
    count: int
    images: list[Shown]


def samples_of(
    names: Sequence[str],
    targets: Array,
    sources: Sequence[Source],
    ids: Sequence[str],
    exclusive: bool = False,
    fallback: Callable[[int], Image.Image | None] = lambda k: None,
) -> list[ClassSamples]:
    """Up to EACH images of each class, spread over the set; rare classes choose first, and an image that shows one is
    shown with another only where there are no others. The first CLASSES classes are shown.

    Args:
        names: of the C classes.
        targets: (N, C) in {0, 1, NaN}.
        sources, ids: of the N images.
        exclusive: whether every image has exactly one; else images with none are a class, too.
        fallback: place -> its picture, where the source cannot be read here.
    """
    columns = [np.flatnonzero(targets[:, k] == 1) for k in range(len(names))]
    titles = [*names]
    if not exclusive:
        titles.append(NONE)
        columns.append(np.flatnonzero((targets == 0).all(axis=1)))
    columns, titles = columns[:CLASSES], titles[:CLASSES]
    taken: set[int] = set()
    chosen: dict[int, list[int]] = {}
    for k in sorted(range(len(columns)), key=lambda k: len(columns[k])):
        fresh = [place for place in columns[k].tolist() if place not in taken]
        rest = [place for place in columns[k].tolist() if place in taken]
        chosen[k] = sorted(_spread(fresh, EACH) + _spread(rest, max(0, EACH - len(fresh))))
        taken.update(chosen[k])
    pictures = {place: _picture(sources[place], ids[place], fallback, place) for place in sorted(taken)}
    return [
        ClassSamples(
            title,
            len(columns[k]),
            [Shown(ids[place], _labels(names, targets[place]), pictures[place]) for place in chosen[k]],
        )
        for k, title in enumerate(titles)
        if title != NONE or len(columns[k])
    ]


def as_jpeg(picture: Image.Image) -> bytes:
    """A small JPEG, in colour where the picture is."""
    picture = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return out.getvalue()


def _spread(places: list[int], count: int) -> list[int]:
    """`count` of them at equal distances, or all."""
    if len(places) <= count:
        return places
    return [places[round(k * (len(places) - 1) / max(count - 1, 1))] for k in range(count)]


def _picture(source: Source, name: str, fallback: Callable[[int], Image.Image | None], place: int) -> bytes:
    try:
        found = header(source, name)
        scale = min(1.0, SIDE / max(found.width, found.height, 1))

        def scaled(width: int, height: int) -> tuple[int, int]:
            return max(1, round(width * scale)), max(1, round(height * scale))

        return as_jpeg(Image.fromarray(decode(source, name, scaled)))
    except (ThoraxError, OSError):
        picture = fallback(place)
        return as_jpeg(picture) if picture is not None else b""


def _labels(names: Sequence[str], row: Array) -> str:
    return ", ".join(name for name, y in zip(names, row, strict=True) if y == 1) or "none"
