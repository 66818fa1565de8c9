"""RSNA Pneumonia Detection Challenge as published: a row per box, and DICOM files that are named by their ids."""

from __future__ import annotations

import re
from typing import ClassVar

from thorax.data.formats.channel import Channel
from thorax.data.formats.frame import Frame
from thorax.data.formats.label_cells import from_columns
from thorax.data.formats.label_texts import from_texts
from thorax.data.formats.labelled import LabelledRows, Locate
from thorax.data.formats.names import key
from thorax.data.formats.places import by_name
from thorax.data.formats.published import PublishedSet
from thorax.errors import ThoraxError

CLASSES_FILE = "stage_2_detailed_class_info.csv"


class Rsna(PublishedSet):
    """stage_2_train_labels.csv: Target is 1 where radiologists saw signs of pneumonia, with a box each.

    `label_columns=class` reads the three classes of stage_2_detailed_class_info.csv instead.
    """

    name = "rsna"
    help = "RSNA Pneumonia as published: stage_2_train_labels.csv and stage_2_train_images/*.dcm"
    what = "RSNA's table"
    table: ClassVar = re.compile(r"stage_2_train_labels\.csv(\.gz)?", re.IGNORECASE)
    columns: ClassVar = ("patientId", "Target")
    image_column: ClassVar = "patientId"
    readers: ClassVar = "any"

    def rows(self, channel: Channel, frame: Frame) -> LabelledRows:
        asked = [key(name) for name in channel.options.table.label_columns]
        if asked not in ([], ["target"], ["class"]):
            raise ThoraxError(f"label_columns={','.join(asked)}: RSNA has target and class; choose one")
        unnamed = float("nan")
        if asked == ["class"]:
            file = channel.folder / self.base(channel) / CLASSES_FILE
            frame, unnamed = Frame.read(file), 0.0
            labels = from_texts(frame.need("class"), frame=frame)
        else:
            labels = from_columns(["Pneumonia"], [frame.need("Target")], frame)
        ids = frame.stripped("patientId")
        return LabelledRows(frame, ids, labels, unnamed=unnamed, anonymous=True)  # a patientId for each image

    def locate(self, channel: Channel) -> Locate:
        return lambda rows: by_name(channel, rows.images, stems=True)
