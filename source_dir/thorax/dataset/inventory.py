"""The images of all parts of a set, by columns: what `check` and `stats` work on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from thorax.data.formats.channel import ReadOptions
from thorax.data.formats.reading import read_channel
from thorax.data.samples import Listing
from thorax.data.source import Source
from thorax.dataset.reading import asking, check_format, label_columns, some
from thorax.labels import positive_of
from thorax.text import are, counted

PARTS = ("train", "validation", "test")
#: The one part of a set without parts.
WHOLE = "images"


@dataclass
class ImageInventory:
    """The images of all parts.

    Attributes:
        names: label names of all parts together.
        parts, ids, patients, sources: of every image.
        targets: (N, len(names)): 1, 0, or NaN for unknown.
        exclusive: every image has exactly one of the names.
        notes: what the formats left out, and why, and the label notes.
        label_notes: those of the notes that say what became of labels, see Listing.
    """

    names: tuple[str, ...]
    parts: np.ndarray
    ids: list[str]
    patients: list[str]
    sources: list[Source]
    targets: np.ndarray
    exclusive: bool
    notes: list[str]
    label_notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def part_names(self) -> list[str]:
        """The parts that have images, in the order train, validation, test."""
        found = set(self.parts.tolist())
        return [part for part in (*PARTS, WHOLE) if part in found]

    @property
    def independent_labels(self) -> list[tuple[int, str, str]]:
        """(column, label, name of its absence); of two classes the one that is not called normal stands for both."""
        if not self.exclusive or len(self.names) != 2:
            return [(k, name, f"not {name}") for k, name in enumerate(self.names)]
        k = positive_of(*self.names)
        return [(k, self.names[k], self.names[1 - k])]

    def place(self, k: int) -> str:
        """The name of image k with its part, for messages."""
        part = str(self.parts[k])
        return self.ids[k] if part == WHOLE or self.ids[k].startswith(f"{part}/") else f"{part}: {self.ids[k]}"

    def labels(self, k: int) -> str:
        """The labels of image k in words."""
        row = list(zip(self.names, self.targets[k], strict=True))
        present, unknown = [n for n, v in row if v == 1], [f"{n}?" for n, v in row if np.isnan(v)]
        return "|".join(present + (unknown if len(unknown) < 4 else [f"{len(unknown)} unknown"])) or "none"

    def take(self, rows: np.ndarray) -> ImageInventory:
        """The images at (n,) `rows`."""
        ids, patients, sources = ([column[k] for k in rows] for column in (self.ids, self.patients, self.sources))
        return replace(
            self, parts=self.parts[rows], ids=ids, patients=patients, sources=sources, targets=self.targets[rows]
        )


def read_inventory(
    images: Path | Mapping[str, Path],
    data_format: str = "auto",
    labels: Sequence[str] = (),
    lists: Mapping[str, Path] | None = None,
    options: ReadOptions | None = None,
) -> ImageInventory:
    """The images of a folder, perhaps with parts of its own, or of the folder of each part.

    Args:
        images: a folder, or part (train, validation, test) -> folder.
        data_format: a name of FORMAT_NAMES; auto looks.
        labels: those to keep, in this order; empty: all.
        lists: part -> the folder of its .lst.
        options: how a table is read; its labels count where `labels` names none.

    Raises:
        ThoraxError: see read_channel and label_columns, or the format is unknown.
    """
    check_format(data_format)
    folders = images if isinstance(images, Mapping) else {WHOLE: images}
    options = asking(options, labels)
    listings = {
        part: _as_training(
            part, read_channel(part, Path(folder), data_format, options, (lists or {}).get(part)), folders
        )
        for part, folder in folders.items()
    }
    names = tuple(dict.fromkeys(name for listing in listings.values() for name in listing.names))
    exclusive = all(listing.exclusive for listing in listings.values())
    count = sum(len(listing.ids) for listing in listings.values())
    targets = np.full((count, len(names)), 0.0 if exclusive else np.nan, np.float32)
    columns = label_columns(names, exclusive, options.labels)
    kept = tuple(names[k] for k in columns)
    found = ImageInventory(kept, np.array([]), [], [], [], targets, exclusive, [])
    parts: list[str] = []
    for part, listing in listings.items():
        rows = slice(len(parts), len(parts) + len(listing.ids))
        for k, name in enumerate(listing.names):
            targets[rows, names.index(name)] = listing.targets[:, k]
        parts += list(listing.parts) if listing.parts is not None else [part] * len(listing.ids)
        found.ids += list(listing.ids)
        found.patients += list(listing.patients)
        found.sources += list(listing.sources)
        before = "" if part == WHOLE else f"{part}: "
        found.notes += [before + note for note in listing.notes]
        found.label_notes += [before + note for note in listing.label_notes]
    found.parts, found.targets = np.array(parts), targets[:, columns]
    return found


def _as_training(part: str, listing: Listing, given: Collection[str]) -> Listing:
    """The images of a channel that training would take, with their parts: of train those that are marked as a part
    with a channel of its own are left out; of validation and test those that are marked otherwise."""
    if part == WHOLE or listing.parts is None:
        return listing
    marks = np.array(listing.parts)
    if part == "train":
        keep = ~np.isin(marks, [name for name in given if name != "train"])
    elif part in marks:
        keep = marks == part
    else:
        note = f"its images are marked {' and '.join(sorted(set(listing.parts)))}, none {part}; all are taken"
        return replace(listing, parts=None, notes=(*listing.notes, note))
    if keep.all():
        return listing
    others = " and ".join(sorted(set(marks[~keep].tolist())))
    left = int((~keep).sum())
    note = f"{counted(left, 'image')} {are(left)} marked {others} and {are(left)} left out"
    return replace(some(listing, np.flatnonzero(keep)), notes=(*listing.notes, note))
