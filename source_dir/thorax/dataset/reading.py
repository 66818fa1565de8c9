"""What the commands share: the images of a folder in any format, some of them, and tables of them."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from thorax.errors import ThoraxError

if TYPE_CHECKING:
    import numpy as np

    from thorax.data.samples import Listing, SampleSet


def add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images", type=Path, metavar="IMAGES", help="folder with images in any format that training takes"
    )
    add_format(parser)


def add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-format",
        default="auto",
        metavar="NAME",
        help="format of the folder (folder, table, lst, recordio, ...); default: looked for",
    )
    parser.add_argument(
        "--labels",
        default="",
        metavar="A,B,...",
        help="labels to keep, in this order; names of numbered ones (.lst, RecordIO)",
    )


def read_images(args: argparse.Namespace) -> Listing:
    """The images of args.images; what the format has to say about them is printed.

    Raises:
        ThoraxError: see read_channel.
    """
    from thorax.data.formats import ALIASES, FORMATS, read_channel
    from thorax.data.formats.channel import ReadOptions

    known = ["auto", *FORMATS, *ALIASES]
    if args.data_format not in known:
        raise ThoraxError(f"--data-format {args.data_format} is not known; choose one of {', '.join(known)}")
    wanted = label_names(args.labels)
    listing = read_channel(
        args.images.name or str(args.images), args.images, args.data_format, ReadOptions(labels=wanted)
    )
    for note in listing.notes:
        print(f"note: {note}")
    return with_labels(listing, wanted)


def check_seed(flag: str, seed: int | None) -> None:
    """Raises ThoraxError: numpy takes no seed below 0."""
    if seed is not None and seed < 0:
        raise ThoraxError(f"{flag} {seed} is out of range; choose 0 or more")


def label_names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def with_labels(listing: Listing, wanted: tuple[str, ...]) -> Listing:
    """The images with these labels, in this order; all of them where none is named.

    Raises:
        ThoraxError: a label is unknown, or images would be left with no class.
    """
    import dataclasses

    columns = label_columns(listing.names, listing.exclusive, wanted)
    return dataclasses.replace(
        listing, names=tuple(listing.names[k] for k in columns), targets=listing.targets[:, columns]
    )


def label_columns(names: tuple[str, ...], exclusive: bool, wanted: tuple[str, ...]) -> list[int]:
    """Where the wanted labels are among the names; all of them where none is wanted.

    Raises:
        ThoraxError: a label is unknown, or images would be left with no class.
    """
    from thorax.data.formats.channel import nearest

    for name in wanted:
        if name not in names:
            raise ThoraxError(
                f"--labels: {name!r} is unknown; the images have {', '.join(names[:20])}{nearest(name, names)}"
            )
    lacking = [name for name in names if wanted and name not in wanted]
    if exclusive and lacking:
        raise ThoraxError(
            f"--labels leaves out the class {lacking[0]}, and its images would have none; name all of"
            f" {', '.join(names)}"
        )
    return [names.index(name) for name in wanted or names]


def some(listing: Listing, rows: np.ndarray) -> Listing:
    """The images at (n,) `rows`, in their order."""
    import dataclasses

    from thorax.data.columns import StringColumn, pack

    def pick(column: Sequence[str]) -> list[str]:
        return [column[int(k)] for k in rows]

    sources = pack(listing.sources, StringColumn(listing.ids)).take(rows)
    parts = pick(listing.parts) if listing.parts is not None else None
    return dataclasses.replace(
        listing,
        ids=pick(listing.ids),
        sources=sources,
        targets=listing.targets[rows],
        patients=pick(listing.patients),
        parts=parts,
    )


def whole_set(listing: Listing) -> SampleSet:
    """All images as one set, for what the trainer does with sets: cutting by patient, counting."""
    from thorax.data.samples import label_space, sample_set

    return sample_set("images", listing, label_space(listing, (), None))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def write_text(text: str, file: Path, what: str) -> None:
    """Writes the file, whole or not at all, in a folder that is made where it lacks."""
    from thorax.files import write_whole

    make_folder(file.parent)
    write_whole(text.encode(), file, what)


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ThoraxError(f"the folder {folder} cannot be made: {error.strerror}") from None
