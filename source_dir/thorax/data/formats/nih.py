"""NIH ChestX-ray14 as published: Data_Entry_2017.csv (or the release of 2020), images in images/ or images_001/images/.

Of the official lists that lie there, images of train_val_list.txt are train, those of test_list.txt test.
"""

from __future__ import annotations

import gzip
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from thorax.data.columns import FileColumn
from thorax.data.formats.channel import EXAMPLES, Channel, nearest
from thorax.data.formats.registry import DataFormat
from thorax.data.samples import Listing
from thorax.errors import ThoraxError
from thorax.tables import read_table

_NAMES = (
    "Atelectasis Cardiomegaly Effusion Infiltration Mass Nodule Pneumonia "
    "Pneumothorax Consolidation Edema Emphysema Fibrosis Pleural_Thickening Hernia"
)
LABELS = tuple(_NAMES.split())
NONE = "No Finding"
COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
_TABLE = re.compile(r"data_entry.*\.csv(\.gz)?", re.IGNORECASE)
_LISTS = {
    "train": re.compile(r"train_val_list.*\.txt(\.gz)?", re.IGNORECASE),
    "test": re.compile(r"test_list.*\.txt(\.gz)?", re.IGNORECASE),
}


class Nih(DataFormat):
    """The published table, with the images below."""

    name = "nih"
    help = "NIH ChestX-ray14 as published: Data_Entry_2017.csv, the official lists and the images"
    what = "the NIH table"
    owns_folders = True

    def files(self, channel: Channel) -> list[str]:
        return [name for name in channel.files if _TABLE.fullmatch(name)]

    def read(self, channel: Channel) -> Listing:
        """Images of the table that are there, in its order; a note counts those that are not.

        Raises:
            ThoraxError: several tables, a column is missing, a label is unknown, an image is listed twice, none is
                there, or one is there twice; an image in both official lists.
        """
        file = channel.only(self.files(channel), "NIH tables")
        table = read_table(file, ragged=True)  # in the header of 2017 two names hold commas and are not quoted
        if missing := [name for name in COLUMNS if name not in table.header]:
            raise ThoraxError(f"{file} has no column {missing[0]}; it has {', '.join(table.header)}")
        ids, findings, people = (table.columns[table.header.index(name)] for name in COLUMNS)
        targets = _targets(file, findings, table.lines)
        place = _places(channel)
        if len(set(ids)) != len(ids):
            first = {name: n for n, name in reversed(list(enumerate(ids)))}
            n = next(n for n, name in enumerate(ids) if first[name] != n)
            line = table.lines[first[ids[n]]]
            raise ThoraxError(f"{file} line {table.lines[n]} lists {ids[n]} a second time, after line {line}")
        rows = np.array([n for n, name in enumerate(ids) if name in place], np.int64)
        if not len(rows):
            raise ThoraxError(
                f"none of the {len(ids)} images of {file} is below {channel.folder}; images lie in images/ or"
                " images_001/images/ and so on"
            )
        notes = []
        if lacking := len(ids) - len(rows):
            notes = [f"{lacking} of the {len(ids)} images of {file.name} are not there and are left out"]
        found = [ids[n] for n in rows]
        if unknown := [n for n in rows if not people[n].strip()]:
            raise ThoraxError(f"{file} line {table.lines[unknown[0]]} has no Patient ID")
        patients = [people[n].strip().zfill(8) for n in rows]
        channel.explained.update(place[name] for name in found)
        parts = _parts(channel, found)
        if parts is not None and "" in parts:
            kept = np.array([k for k, part in enumerate(parts) if part], np.int64)
            notes.append(f"{len(parts) - len(kept)} images are in neither official list and are left out")
            found, patients, parts = ([column[k] for k in kept] for column in (found, patients, parts))
            rows = rows[kept]
        sources = FileColumn(channel.paths(place[name] for name in found))
        return Listing(LABELS, found, sources, targets[rows], patients, False, parts, tuple(notes))


def _targets(file: Path, findings: Sequence[str], lines: Sequence[int]) -> np.ndarray:
    """(N, 14) float32 of 0 and 1."""
    index = {name: k for k, name in enumerate(LABELS)}
    rows: dict[str, np.ndarray] = {}
    for text in dict.fromkeys(findings):
        row = np.zeros(len(LABELS), np.float32)
        for label in text.split("|"):
            plain = label.strip().replace(" ", "_")
            if plain in index:
                row[index[plain]] = 1
            elif label.strip() != NONE:
                line = lines[list(findings).index(text)]
                raise ThoraxError(
                    f"{file} line {line}: the label {label!r} is unknown{nearest(label, [*LABELS, NONE])}"
                )
        rows[text] = row
    return np.stack([rows[text] for text in findings])


def _places(channel: Channel) -> dict[str, str]:
    """File name -> place below the channel."""
    place: dict[str, str] = {}
    for image in channel.everything:
        name = image.rpartition("/")[2]
        if (other := place.setdefault(name, image)) != image and name.lower().endswith(".png"):
            one, two = sorted(posixpath.dirname(path) or "." for path in (image, other))
            raise ThoraxError(f"{name} is in {one} and in {two} of {channel.folder}; leave one of them")
    return place


def _parts(channel: Channel, images: Sequence[str]) -> list[str] | None:
    """train or test of every image, by the official lists; "" for an image of neither. None: there are no lists."""
    lists: dict[str, set[str]] = {}
    for part, pattern in _LISTS.items():
        for name in (name for name in channel.files if pattern.fullmatch(name)):
            path = channel.folder / name
            text = gzip.decompress(path.read_bytes()) if name.lower().endswith(".gz") else path.read_bytes()
            lists.setdefault(part, set()).update(text.decode("utf-8", "replace").split())
    if not lists:
        return None
    if both := sorted(lists.get("train", set()) & lists.get("test", set())):
        raise ThoraxError(
            f"{len(both)} images of {channel.folder} are in both official lists, e.g. {', '.join(both[:EXAMPLES])};"
            " leave each in one"
        )
    if len(lists) == 1:
        (part,) = lists
        return [part if image in lists[part] else "test" if part == "train" else "train" for image in images]
    return ["train" if image in lists["train"] else "test" if image in lists["test"] else "" for image in images]
