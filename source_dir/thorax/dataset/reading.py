"""The images of a folder in any format, and some of them: some labels, some rows."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from thorax.data.formats.channel import ReadOptions, nearest
from thorax.data.formats.names import resolved
from thorax.data.formats.reading import read_channel
from thorax.data.formats.registry import FORMAT_NAMES, RENAMED
from thorax.data.samples import Listing, SampleSet, label_space, sample_set
from thorax.errors import ThoraxError


def read_images(
    folder: Path,
    data_format: str = "auto",
    labels: Sequence[str] = (),
    say: Callable[[str], None] = print,
    options: ReadOptions | None = None,
) -> Listing:
    """The images of a folder.

    Args:
        folder: with images in any format that training takes.
        data_format: a name of FORMAT_NAMES; auto looks.
        labels: those to keep, in this order; of numbered ones (.lst, RecordIO) their names. Empty: all.
        say: takes a line for each note of the format.
        options: how a table is read; its labels count where `labels` names none.

    Raises:
        ThoraxError: see read_channel and `label_columns`, or the format is unknown.
    """
    check_format(data_format)
    options = asking(options, labels)
    listing = read_channel(folder.name or str(folder), folder, data_format, options)
    for note in listing.notes:
        say(f"note: {note}")
    return with_labels(listing, options.labels)


def asking(options: ReadOptions | None, labels: Sequence[str]) -> ReadOptions:
    """The options with these labels; without any the options' own."""
    options = options or ReadOptions()
    return replace(options, labels=tuple(labels)) if labels else options


def check_format(data_format: str) -> None:
    """Raises ThoraxError for a name that is no data format, in the words of the command line."""
    if data_format not in FORMAT_NAMES and data_format not in RENAMED:
        raise ThoraxError(f"--data-format {data_format} is not known; choose one of {', '.join(FORMAT_NAMES)}")


def labels_flag(names: Sequence[str]) -> str:
    """`--set labels=A,B` that trains on what was written, as a shell takes it: a name may have spaces and quotes."""
    return f"--set {shlex.quote('labels=' + ','.join(names))}"


def label_names(text: str) -> tuple[str, ...]:
    """The names of a list with commas."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def with_labels(listing: Listing, labels: Sequence[str]) -> Listing:
    """The images with these labels, in this order; with all of them where none is named.

    Raises:
        ThoraxError: see `label_columns`.
    """
    return listing.with_names(label_columns(listing.names, listing.exclusive, labels))


def label_columns(names: Sequence[str], exclusive: bool, labels: Sequence[str]) -> list[int]:
    """Where these labels are among the names; all of the names where none is given.

    Raises:
        ThoraxError: a label is unknown, or images would be left with no class.
    """
    labels = resolved(labels, names, "labels")
    for name in labels:
        if name not in names:
            raise ThoraxError(
                f"--labels: {name!r} is unknown; the images have {', '.join(names[:20])}{nearest(name, names)}"
            )
    lacking = [name for name in names if labels and name not in labels]
    if exclusive and lacking:
        raise ThoraxError(
            f"--labels leaves out the class {lacking[0]}, and its images would have none; name all of"
            f" {', '.join(names)}"
        )
    return [list(names).index(name) for name in labels or names]


def some(listing: Listing, rows: np.ndarray) -> Listing:
    """The images at (n,) `rows`, in their order."""
    return listing.take(rows)


def whole_set(listing: Listing) -> SampleSet:
    """All images as one set, as the trainer cuts and counts it."""
    return sample_set("images", listing, label_space(listing, (), None))
