"""The .lst files of SageMaker's built-in algorithm: index, tab, label(s), tab, path below the images' folder.

One class index an image, or a column of 1 and 0 (-1: unknown) per label. The lines are shuffled, as im2rec does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from thorax.data.samples import Listing
from thorax.data.splits import cut_by_patient
from thorax.dataset.reading import some, whole_set
from thorax.dataset.writing import relative_path, write_text
from thorax.errors import ThoraxError


def write_lists(listing: Listing, images: Path, out: Path, ratio: float = 1.0, seed: int = 0) -> dict[Path, int]:
    """Writes OUT.lst, or OUT_train.lst and OUT_val.lst with whole patients in each.

    Args:
        listing: the images, each a file of its own.
        images: the folder that the paths are relative to.
        out: path of the lists without their ending.
        ratio: share of the images for training; 1: one list.
        seed: of the split and of the lines' order.

    Returns:
        Each file, and how many images it lists.

    Raises:
        ThoraxError: images are in larger files, fewer than two patients, or a file cannot be written.
    """
    if not all(isinstance(source, Path) for source in listing.sources):
        raise ThoraxError(
            f"the images of {images} are in larger files; a .lst names images that are files of their own"
        )
    rows = {"": np.arange(len(listing.ids))}
    if ratio < 1:
        place = {name: k for k, name in enumerate(listing.ids)}
        train, validation = cut_by_patient(whole_set(listing), 1 - ratio, seed)
        rows = {
            f"_{end}": np.array([place[name] for name in part.ids])
            for end, part in (("train", train), ("val", validation))
        }
    rng = np.random.default_rng(seed)
    written = {}
    for end, chosen in rows.items():
        file = out.with_name(f"{out.name}{end}.lst")
        write_text(_lines(some(listing, rng.permutation(chosen)), images), file, "list")
        written[file] = len(chosen)
    return written


def numbers_of(listing: Listing, row: int) -> list[float]:
    """An image's labels as numbers: its class's index, or 1, 0 and -1 (unknown) for every label."""
    targets = listing.targets[row]
    if listing.exclusive:
        return [float(targets.argmax())]
    return [float(value) for value in np.where(np.isnan(targets), -1, targets)]


def numbers_text(numbers: list[float]) -> str:
    """The numbers as columns of a .lst."""
    return "\t".join(f"{value:g}" for value in numbers)


def _lines(listing: Listing, folder: Path) -> str:
    return "".join(
        f"{k}\t{numbers_text(numbers_of(listing, k))}\t{relative_path(str(source), folder)}\n"
        for k, source in enumerate(listing.sources)
    )
