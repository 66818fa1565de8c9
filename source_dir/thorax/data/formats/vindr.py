"""VinDr-CXR as published: on Kaggle a row per box and reader, on PhysioNet a row per image and reader.

Three radiologists read each training image: a label is what most of them say, unless `readers` says any or mean.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import replace
from typing import ClassVar

import numpy as np

from thorax.data.formats.channel import Channel
from thorax.data.formats.frame import Frame
from thorax.data.formats.label_cells import from_columns
from thorax.data.formats.labelled import LabelledRows, Locate
from thorax.data.formats.names import check_spellings, key
from thorax.data.formats.places import by_name
from thorax.data.formats.published import PublishedSet
from thorax.data.formats.table_labels import TableLabels
from thorax.errors import ThoraxError

NONE = "No finding"
#: What the table of the test images calls otherwise.
_OTHER_NAMES = {"otherdisease": "Other diseases"}


class VinDr(PublishedSet):
    """Kaggle's train.csv, or PhysioNet's image_labels_train.csv and image_labels_test.csv."""

    name = "vindr"
    help = "VinDr-CXR as published: Kaggle's train.csv, or PhysioNet's annotations/image_labels_*.csv, and the images"
    what = "VinDr-CXR's tables"
    table: ClassVar = re.compile(r"(train|image_labels_train|image_labels_test)\.csv(\.gz)?", re.IGNORECASE)
    columns: ClassVar = ("image_id",)
    image_column: ClassVar = "image_id"
    readers: ClassVar = "majority"

    def knows(self, header: Set[str]) -> bool:
        return super().knows(header) and bool(header & {"classname", key(NONE)})

    def rows(self, channel: Channel, frame: Frame) -> LabelledRows:
        """A row per image and reader."""
        if frame.find("class_name"):
            frame, labels = _of_boxes(frame)
            parts = None
        else:
            frame, labels = _of_columns(frame)
            parts = [("test" if "test" in frame.files[k].name.lower() else "train") for k in frame.which]
        return LabelledRows(frame, frame.stripped("image_id"), labels, parts=parts, anonymous=True)

    def locate(self, channel: Channel) -> Locate:
        return lambda rows: by_name(channel, rows.images, stems=True)


def _of_boxes(frame: Frame) -> tuple[Frame, TableLabels]:
    """One row for each image and reader, with the classes that the reader drew a box of."""
    classes = frame.stripped("class_name")
    if "" in classes:
        raise ThoraxError(f"{frame.row(classes.index(''))} has no class_name; write {NONE} where nothing was found")
    names = sorted({name for name in classes if key(name) != key(NONE)})
    check_spellings(names, frame.name)
    column = {name: k for k, name in enumerate(names)}
    place: dict[tuple[str, str], int] = {}
    read = zip(frame.stripped("image_id"), frame.stripped("rad_id"), strict=True)
    row = np.array([place.setdefault(pair, len(place)) for pair in read], np.int64)
    found = np.array([column.get(name, -1) for name in classes], np.int64)
    targets = np.zeros((len(place), len(names)), np.float32)
    targets[row[found >= 0], found[found >= 0]] = 1
    _, first = np.unique(row, return_index=True)
    return frame.take(first), TableLabels(tuple(names), targets, False)


def _of_columns(frame: Frame) -> tuple[Frame, TableLabels]:
    """A column for each finding; one that the tables of train and test call by two names is one."""
    columns = {name: texts for name, texts in frame.columns.items() if key(name) not in ("imageid", "radid", key(NONE))}
    merged: dict[str, list[str]] = {}
    for name, texts in columns.items():
        name = _OTHER_NAMES.get(key(name), name)
        first = next((other for other in merged if key(other) == key(name)), None)
        if first is None:
            merged[name] = list(texts)
        else:
            merged[first] = [a or b for a, b in zip(merged[first], texts, strict=True)]
    labels = from_columns(list(merged), list(merged.values()), frame)
    notes = [
        f"{frame.lacking[name]} has no column {name}: it is unknown there"
        for name in merged
        if name in frame.lacking and key(name) not in map(key, (*_OTHER_NAMES, *_OTHER_NAMES.values()))
    ]
    return frame, replace(labels, notes=(*labels.notes, *notes))
