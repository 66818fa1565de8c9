"""From the rows of a labelled table to a listing: what every table and every published set has in common.

Rows of one image are merged, images that are not there are counted and left out, blank cells become what the user says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from thorax.data.columns import FileColumn
from thorax.data.formats.channel import Channel
from thorax.data.formats.frame import Frame
from thorax.data.formats.merging import check_same, merged
from thorax.data.formats.names import plain_ids
from thorax.data.formats.table_labels import TableLabels
from thorax.data.patients import fill_patients
from thorax.data.samples import Listing
from thorax.errors import ThoraxError
from thorax.text import are, counted


@dataclass
class LabelledRows:
    """What the rows of a table say.

    Attributes:
        frame: the rows.
        images: what names each row's image.
        labels: of each row.
        patients: of each row; where blank, and with None, read from the image's name or header.
        studies, parts, attributes: as in a Listing.
        notes: lines for the log.
        unnamed: see Listing.
        ids: the images' ids are their names, and not their places below the channel.
        anonymous: the set tells no patients, in its images' headers neither: none is looked for.
    """

    frame: Frame
    images: Sequence[str]
    labels: TableLabels
    patients: Sequence[str] | None = None
    studies: Sequence[str] | None = None
    parts: Sequence[str] | None = None
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    unnamed: float = float("nan")
    ids: bool = False
    anonymous: bool = False

    def take(self, rows: np.ndarray, labels: TableLabels | None = None) -> LabelledRows:
        """The rows at (n,) places, perhaps with other labels."""
        places = np.asarray(rows, np.int64).tolist()

        def pick(column: Sequence[str] | None) -> list[str] | None:
            return None if column is None else [column[k] for k in places]

        return replace(
            self,
            frame=Frame({}, self.frame.files, self.frame.which[rows], self.frame.lines[rows]),
            images=[self.images[k] for k in places],
            labels=self.labels.take(rows) if labels is None else labels,
            patients=pick(self.patients),
            studies=pick(self.studies),
            parts=pick(self.parts),
            attributes={name: [column[k] for k in places] for name, column in self.attributes.items()},
        )


#: Rows, one for each image -> (place of each below the channel, "" where it is not there; lines for the log).
Locate = Callable[[LabelledRows], tuple[list[str], list[str]]]


def listing_of(channel: Channel, rows: LabelledRows, locate: Locate, readers: str = "auto") -> Listing:
    """The images of the rows that are there, in the rows' order.

    Args:
        channel: for paths and options.
        rows: of the set's tables.
        locate: finds the images.
        readers: the rule for several rows of one image, where the user has none.

    Raises:
        ThoraxError: rows of one image that differ, no image is there, or two names of one file; with lines.
    """
    options = channel.options.table
    rows, merges = _one_row_each(rows, options.readers if options.readers != "auto" else readers)
    places, located = locate(rows)
    notes: list[str] = []
    there = np.array([k for k, place in enumerate(places) if place], np.int64)
    if not len(there):
        raise ThoraxError(
            f"none of the {counted(len(places), 'image')} of {rows.frame.name} is below {channel.folder}; the first is"
            f" {rows.images[0]}"
        )
    if lacking := len(places) - len(there):
        images = f"{lacking:,} of the {counted(len(places), 'image')} of {rows.frame.name}"
        notes.append(f"{images} {are(lacking)} not there and {are(lacking)} left out")
        rows, places = rows.take(there), [places[k] for k in there]
    rows, places = _with_class(rows, places)
    _check_places(places, rows)
    paths = channel.paths(places)
    ids = list(rows.images) if rows.ids else places
    labels, blanks = _blanks(rows.labels, options.blank)
    label_notes = (*labels.notes, *merges, *blanks)
    given = plain_ids(rows.patients) if rows.patients is not None else [""] * len(ids)
    patients = [person or name for person, name in zip(given, ids, strict=True)]
    if channel.options.images and not rows.anonymous:
        patients = fill_patients(given, ids, paths)
    return Listing(
        labels.names,
        ids,
        FileColumn(paths),
        labels.targets,
        patients,
        labels.exclusive,
        rows.parts,
        (*rows.notes, *label_notes, *notes, *located),
        rows.unnamed,
        labels.uncertain,
        rows.studies,
        rows.attributes,
        label_notes,
    )


def _one_row_each(rows: LabelledRows, rule: str) -> tuple[LabelledRows, list[str]]:
    """One row for each image; images in two parts or of two patients are refused."""
    first, labels, notes = merged(rows.images, rows.labels, rows.frame, rule)
    if len(first) == len(rows.images):
        return rows, notes
    for what, column in (("part", rows.parts), ("patient", rows.patients), ("study", rows.studies)):
        if column is not None:
            check_same(column, rows.images, rows.frame, what)
    return rows.take(first, labels), notes


def _with_class(rows: LabelledRows, places: list[str]) -> tuple[LabelledRows, list[str]]:
    """Of exclusive classes those rows that have one; see `from_texts`, which says how many have none."""
    if not rows.labels.exclusive:
        return rows, places
    known = ~np.isnan(rows.labels.targets).any(axis=1)
    if known.all():
        return rows, places
    kept = np.flatnonzero(known)
    return rows.take(kept), [places[k] for k in kept]


def _check_places(places: Sequence[str], rows: LabelledRows) -> None:
    if len(set(places)) == len(places):
        return
    first: dict[str, int] = {}
    for n, place in enumerate(places):
        if (other := first.setdefault(place, n)) != n:
            raise ThoraxError(
                f"{rows.frame.row(n)} names {rows.images[n]}, which is the file {place}, as {rows.images[other]} of"
                f" {rows.frame.row(other)} is; list an image once"
            )


def _blanks(labels: TableLabels, blank: str) -> tuple[TableLabels, list[str]]:
    """Values of label columns that are blank become 0 with blank=negative and stay unknown else; a line counts them."""
    if labels.of_texts:
        return labels, []
    unknown = np.isnan(labels.targets)
    if labels.uncertain is not None:
        unknown &= ~labels.uncertain
    counts = ", ".join(f"{name} {n}" for name, n in zip(labels.names, unknown.sum(axis=0), strict=True) if n)
    if blank == "negative":
        known = replace(labels, targets=np.where(unknown, np.float32(0), labels.targets))
        return known, [f"blank=negative: blank values become 0 ({counts or 'there are none'})"]
    line = f"blank=unknown: blank values are unknown, blank=negative makes them 0 ({counts})"
    return labels, [line] if counts else []
