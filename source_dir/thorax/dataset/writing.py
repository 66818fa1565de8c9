"""Files that the commands write: texts, tables that training takes, and the built-in algorithm's .lst."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from thorax.data.samples import Listing
from thorax.data.splits import cut_by_patient
from thorax.dataset.reading import some, whole_set
from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax.tables import Columns, check_table, write_table


def write_text(text: str, file: Path, what: str, private: bool = False) -> None:
    """Writes a file, whole or not at all, and makes its folder; a private one is its owner's alone.

    Raises:
        ThoraxError: it cannot be written; the message calls it `what`.
    """
    make_folder(file.parent)
    write_whole(text.encode("utf-8", "backslashreplace"), file, what, private)


def make_folder(folder: Path) -> None:
    """Makes the folder and those above it; raises ThoraxError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ThoraxError(f"the folder {folder} cannot be made: {error.strerror}") from None


def write_listing(listing: Listing, images: Path, out: Path) -> None:
    """Writes a table of path, patient, split where the set has parts, and a column per label.

    Args:
        listing: the images.
        images: the folder that the paths are relative to.
        out: CSV or, by the ending, Parquet. Unknown labels are blank.

    Raises:
        ThoraxError: another ending, pyarrow is missing, or the file cannot be written.
    """
    check_table(out, "--out")
    columns: dict[str, list[object]] = {
        "path": [relative_path(source, images) for source in map(str, listing.sources)],
        "patient": list(listing.patients),
    }
    if listing.parts is not None:
        columns["split"] = list(listing.parts)
    for k, name in enumerate(listing.names):
        columns[name] = [None if np.isnan(value) else int(value) for value in listing.targets[:, k]]
    table: Columns = columns
    write_table(table, out, "table")


def relative_path(source: str, images: Path) -> str:
    """The path of an image relative to the folder, with "/"."""
    return Path(os.path.relpath(source, images)).as_posix()


def write_lists(listing: Listing, images: Path, out: Path, ratio: float = 1.0, seed: int = 0) -> dict[Path, int]:
    """Writes OUT.lst, or OUT_train.lst and OUT_val.lst with whole patients in each: index, label(s), path between tabs.

    A class index an image, or 1 and 0 (-1: unknown) per label. The lines are shuffled, as im2rec does.

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
        write_text(_lines(some(listing, rng.permutation(chosen)), images), file, "list", private=True)
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
