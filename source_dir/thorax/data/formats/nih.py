"""NIH ChestX-ray14 as published: Data_Entry_2017.csv (or the release of 2020, or the sample's sample_labels.csv).

Images lie in images/ or images_001/images/. Of the official lists that lie there, images of train_val_list.txt are
train, those of test_list.txt test. The relabelling of 4 findings by radiologists (Majkowska et al., "Chest radiograph
interpretation with deep learning models", 2020) is a table of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import ClassVar

import numpy as np

from thorax.data.formats.attributes import attributes_of
from thorax.data.formats.channel import EXAMPLES, PARTS, Channel, nearest
from thorax.data.formats.frame import Frame
from thorax.data.formats.label_cells import from_columns
from thorax.data.formats.label_texts import contradictions, label_lists
from thorax.data.formats.labelled import LabelledRows, Locate
from thorax.data.formats.names import key
from thorax.data.formats.places import by_name
from thorax.data.formats.published import PublishedSet
from thorax.data.formats.table_labels import TableLabels
from thorax.errors import ThoraxError
from thorax.text import are, counted
from thorax.unpacking import gunzipped

_NAMES = (
    "Atelectasis Cardiomegaly Effusion Infiltration Mass Nodule Pneumonia "
    "Pneumothorax Consolidation Edema Emphysema Fibrosis Pleural_Thickening Hernia"
)
LABELS = tuple(_NAMES.split())
NONE = "No Finding"
COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
#: The findings of the relabelling.
FOUR = ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")
_USED = (*COLUMNS, *FOUR, "Image ID", "Set Id", "Patient Age", "Patient Gender", "Patient Sex", "View Position")
_PUBLISHED = re.compile(r"(data_entry.*|sample_labels)\.csv(\.gz)?", re.IGNORECASE)
_LISTS = {
    "train": re.compile(r"train_val_list.*\.txt(\.gz)?", re.IGNORECASE),
    "test": re.compile(r"test_list.*\.txt(\.gz)?", re.IGNORECASE),
}


class Nih(PublishedSet):
    """The published table, or that of the 4 findings, with the images below."""

    name = "nih"
    help = "NIH ChestX-ray14 as published: Data_Entry_2017.csv, the official lists and the images"
    what = "the NIH table"
    table: ClassVar = re.compile(r".*\.csv(\.gz)?", re.IGNORECASE)
    image_column: ClassVar = "Image Index"

    def files(self, channel: Channel) -> list[str]:
        """The published table; the relabelled ones where there is no other, or `label_columns` asks for them."""
        found = super().files(channel)
        published = [name for name in found if _PUBLISHED.fullmatch(name.rpartition("/")[2])]
        asked = {key(name) for name in channel.options.table.label_columns} & {key(name) for name in FOUR}
        relabelled = [name for name in found if name not in published]
        if asked and not relabelled:
            relabelled = [name for name in self.below(channel) if not _PUBLISHED.fullmatch(name.rpartition("/")[2])]
        return relabelled if relabelled and (asked or not published) else published

    def knows(self, header: Set[str]) -> bool:
        four = header >= {key(name) for name in FOUR} and bool(header & {"imageindex", "imageid"})
        if "readerid" in header:  # of each reader alone, beside the tables that have what they agreed on
            return False
        return four or header >= {"imageindex", "patientid"}

    def frame(self, channel: Channel) -> Frame:
        names = self.files(channel)
        if _PUBLISHED.fullmatch(names[0].rpartition("/")[2]):
            channel.only(names, "NIH tables")
        only = (*_USED, *(name for name, _ in channel.options.table.conditions))
        files = [channel.folder / name for name in names]
        return Frame.read(*files, only=only, ragged=True)  # in the header of 2017 two names hold commas, not quoted

    def rows(self, channel: Channel, frame: Frame) -> LabelledRows:
        if not _PUBLISHED.fullmatch(frame.files[0].name):
            return _relabelled(frame)
        images, findings, people = frame.stripped(COLUMNS[0]), frame.need(COLUMNS[1]), frame.ids(COLUMNS[2])
        lists = label_lists(findings, frame)
        notes = contradictions(lists, Counter(findings))
        labels = TableLabels(LABELS, _targets(frame, findings, lists), False, notes=tuple(notes))
        rows = LabelledRows(frame, images, labels, _patients(frame, people), unnamed=0.0, ids=True)
        rows.attributes = attributes_of(frame)
        parts = _parts(channel, images)
        if parts is None:
            return rows
        rows.parts, kept = parts, np.flatnonzero([bool(part) for part in parts])
        if len(kept) == len(parts):
            return rows
        rows = rows.take(kept)
        left = len(parts) - len(kept)
        rows.notes = [f"{counted(left, 'image')} {are(left)} in neither official list and {are(left)} left out"]
        return rows

    def locate(self, channel: Channel) -> Locate:
        return lambda rows: by_name(channel, rows.images)


def _relabelled(frame: Frame) -> LabelledRows:
    """YES and NO of the 4 findings; parts by the column Set Id, or by the tables' names."""
    images = frame.stripped(frame.find("Image Index", "Image ID") or "Image Index")
    labels = from_columns(FOUR, [frame.need(name) for name in FOUR], frame)
    people = frame.ids("Patient ID") if frame.find("Patient ID") else None
    marks = frame.get("Set Id")
    words = marks if marks is not None else [re.split(r"[_.]", frame.files[k].name.lower())[0] for k in frame.which]
    parts = [PARTS.get(word.strip().lower(), "") for word in words]
    patients = _patients(frame, people) if people is not None else None
    about = attributes_of(frame)
    return LabelledRows(frame, images, labels, patients, None, parts if all(parts) else None, about, ids=True)


def _patients(frame: Frame, people: Sequence[str]) -> list[str]:
    if unknown := [n for n, person in enumerate(people) if not person]:
        raise ThoraxError(f"{frame.row(unknown[0])} has no Patient ID")
    return [person.zfill(8) for person in people]


def _targets(frame: Frame, findings: Sequence[str], lists: Mapping[str, Sequence[str]]) -> np.ndarray:
    """(N, 14) float32 of 0 and 1."""
    index = {key(name): k for k, name in enumerate(LABELS)}
    rows: dict[str, np.ndarray] = {}
    for text, names in lists.items():
        rows[text] = np.zeros(len(LABELS), np.float32)
        for label in names or [""]:
            if key(label) in index:
                rows[text][index[key(label)]] = 1
            elif key(label) != key(NONE):
                where = frame.row(list(findings).index(text))
                raise ThoraxError(f"{where}: the label {label!r} is unknown{nearest(label, [*LABELS, NONE])}")
    return np.stack([rows[text] for text in findings])


def _parts(channel: Channel, images: Sequence[str]) -> list[str] | None:
    """train or test of every image, by the official lists; "" for an image of neither. None: there are no lists."""
    lists: dict[str, set[str]] = {}
    for part, pattern in _LISTS.items():
        for name in (name for name in channel.files if pattern.fullmatch(name)):
            path = channel.folder / name
            text = gunzipped(path.read_bytes(), path)
            lists.setdefault(part, set()).update(text.decode("utf-8", "replace").split())
    if not lists:
        return None
    if both := sorted(lists.get("train", set()) & lists.get("test", set())):
        raise ThoraxError(
            f"{counted(len(both), 'image')} of {channel.folder} {are(len(both))} in both official lists, e.g."
            f" {', '.join(both[:EXAMPLES])}; leave each in one"
        )
    if len(lists) == 1:
        (part,) = lists
        return [part if image in lists[part] else "test" if part == "train" else "train" for image in images]
    return ["train" if image in lists["train"] else "test" if image in lists["test"] else "" for image in images]
