"""Labels of public sets as training takes them: MS-COCO's boxes, and the NIH ChestX-ray14 table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from thorax.data.formats.channel import ReadOptions
from thorax.data.formats.label_table import label_table
from thorax.data.formats.reading import read_channel
from thorax.data.samples import Listing
from thorax.dataset.reading import some, with_labels
from thorax.text import are, counted, has


def coco_labels(
    folder: Path,
    labels: Sequence[str] = (),
    crowds: bool = True,
    drop_empty: bool = False,
    say: Callable[[str], None] = print,
) -> Listing:
    """The images of a folder with annotations/instances_*.json; an image has the categories that it has a box of.

    Args:
        folder: annotations and images.
        labels: categories to keep, in this order; empty: all.
        crowds: boxes marked iscrowd count.
        drop_empty: leave out images with none of the categories.
        say: takes lines for the user.

    Raises:
        ThoraxError: see read_channel; or a category is unknown.
    """
    listing = read_channel(str(folder), folder, "coco", ReadOptions(count_crowds=crowds))
    for note in listing.notes:
        say(f"note: {note}")
    listing = with_labels(listing, labels)
    if drop_empty:
        rows = np.flatnonzero(listing.targets.any(axis=1))
        left = len(listing.ids) - len(rows)
        say(f"note: {counted(left, 'image')} {has(left)} none of the categories and {are(left)} left out")
        listing = some(listing, rows)
    return listing


def nih_labels(folder: Path, with_images: bool = True, say: Callable[[str], None] = print) -> Listing:
    """The images of a folder with Data_Entry_2017*.csv: 14 labels, patients and official split.

    Args:
        folder: table, official lists and images.
        with_images: those images that are there; else all rows of the table, as if their images were there.
        say: takes lines for the user.

    Raises:
        ThoraxError: see read_channel; or there is not just one table.
    """
    listing = read_channel(str(folder), folder, "nih") if with_images else label_table(folder, data_format="nih")
    for note in listing.notes:
        say(f"note: {note}")
    return listing
