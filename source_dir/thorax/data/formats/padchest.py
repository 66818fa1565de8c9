"""PadChest as published: a table of 160,861 images with a list of findings each; images flat or in folders 0 to 54."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from thorax.data.formats.attributes import attributes_of
from thorax.data.formats.channel import Channel
from thorax.data.formats.frame import Frame
from thorax.data.formats.label_texts import from_texts, label_lists
from thorax.data.formats.labelled import LabelledRows, Locate
from thorax.data.formats.names import BLANK
from thorax.data.formats.places import by_name
from thorax.data.formats.published import PublishedSet
from thorax.text import are, counted

NORMAL = "normal"
#: Words of the list that tell of the report or the image, and of no finding.
REMARKS = ("unchanged", "exclude", "suboptimal study")
_USED = (
    *("ImageID", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM", "StudyDate_DICOM"),
    *("Projection", "Labels"),
)


class PadChest(PublishedSet):
    """The table, plain or packed, and the images anywhere below."""

    name = "padchest"
    help = "PadChest as published: PADCHEST_chest_x_ray_images_labels_160K*.csv and the images"
    what = "PadChest's table"
    table: ClassVar = re.compile(r"padchest.*\.csv(\.gz)?", re.IGNORECASE)
    columns: ClassVar = ("ImageID", "PatientID", "StudyID", "Projection", "Labels")
    image_column: ClassVar = "ImageID"

    def frame(self, channel: Channel) -> Frame:
        file = channel.only(self.files(channel), "PadChest tables")
        return Frame.read(file, only=(*_USED, *(name for name, _ in channel.options.table.conditions)))

    def rows(self, channel: Channel, frame: Frame) -> LabelledRows:
        """Rows without a known finding are left out: no list, or one that holds remarks only."""
        lists = frame.need("Labels")
        no_finding_known = {*REMARKS, *BLANK}
        found = label_lists(lists, frame, commas=True)
        items = {text: [name for name in found[text] if name not in no_finding_known] for text in found}
        kept = np.array([n for n, text in enumerate(lists) if items[text]], np.int64)
        notes = _left_out(lists, items)
        frame = frame.take(kept) if len(kept) < len(frame) else frame
        texts = {text: "|".join(names) for text, names in items.items()}
        labels = from_texts([texts[text] for text in frame.need("Labels")], "negative", True, absent=(NORMAL,))
        labels = replace(labels, notes=(*notes, *labels.notes))
        patients, studies = frame.ids("PatientID"), frame.ids("StudyID")
        about = attributes_of(frame)
        if (births := frame.get("PatientBirth")) and (dates := frame.get("StudyDate_DICOM")):
            about["age"] = [_age(date, birth) for date, birth in zip(dates, births, strict=True)]
        names = [f"{p}/{s}" if p and s else s for p, s in zip(patients, studies, strict=True)]
        return LabelledRows(frame, frame.stripped("ImageID"), labels, patients, names, None, about, unnamed=0.0)

    def locate(self, channel: Channel) -> Locate:
        def find(rows: LabelledRows) -> tuple[list[str], list[str]]:
            places, notes = by_name(channel, rows.images)
            there = [k for k, place in enumerate(places) if place] if channel.options.images else []
            empty = [k for k in there if not os.stat(f"{channel.folder}/{places[k]}").st_size]
            for k in empty:
                places[k] = ""
            if empty:
                line = f"{counted(len(empty), 'image')} of them {are(len(empty))} there but empty (0 bytes)"
                notes = [*notes, line]
            return places, notes

        return find


def _left_out(lists: Sequence[str], items: dict[str, list[str]]) -> list[str]:
    without = [text for text in lists if not items[text]]
    blank = sum(text.strip().casefold() in BLANK for text in without)
    if not without:
        return []
    said = f"{len(without) - blank:,} whose list holds only {', '.join(REMARKS)} or nothing"
    images = f"{counted(len(without), 'image')} without a known finding {are(len(without))} left out"
    return [f"{images}: {blank:,} without a list, {said}"]


def _age(date: str, birth: str) -> str:
    """Years from the year of birth ("1930.0") to the study's date ("20140915")."""
    try:
        return str(int(date[:4]) - int(float(birth)))
    except ValueError:
        return ""
