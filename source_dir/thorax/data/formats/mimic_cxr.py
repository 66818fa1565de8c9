"""MIMIC-CXR-JPG as published: labels per study, metadata per image, the official split, images below files/."""

from __future__ import annotations

import re
from typing import ClassVar

from thorax.data.formats.attributes import attributes_of
from thorax.data.formats.channel import Channel, part_of
from thorax.data.formats.chexpert import finding_labels
from thorax.data.formats.frame import Frame
from thorax.data.formats.labelled import LabelledRows, Locate
from thorax.data.formats.places import by_path
from thorax.data.formats.published import PublishedSet
from thorax.errors import ThoraxError
from thorax.text import are, counted

STUDY = ("subject_id", "study_id")


class MimicCxr(PublishedSet):
    """The four tables mimic-cxr-2.*-{metadata,split,chexpert,negbio}.csv.gz beside files/."""

    name = "mimic_cxr"
    help = "MIMIC-CXR-JPG as published: mimic-cxr-2.0.0-*.csv.gz and files/p10/p10000032/s50414267/*.jpg"
    what = "MIMIC-CXR's metadata"
    table: ClassVar = re.compile(r"mimic-cxr-[\d.]+-metadata\.csv(\.gz)?")
    columns: ClassVar = ("dicom_id", *STUDY)
    image_column: ClassVar = "dicom_id"

    def frame(self, channel: Channel) -> Frame:
        """An image a row."""
        metadata = channel.only(self.files(channel), "MIMIC-CXR metadata tables")
        about = ("dicom_id", *STUDY, "ViewPosition", *(name for name, _ in channel.options.table.conditions))
        return Frame.read(metadata, only=about)

    def with_labels(self, channel: Channel, frame: Frame) -> Frame:
        """With its study's labels and its part; labels of CheXpert's labeler go before NegBio's."""
        metadata = frame.files[0]
        found = {
            kind: next((path for path in sorted(metadata.parent.glob(f"mimic-cxr-*-{kind}.csv*"))), None)
            for kind in ("chexpert", "negbio", "split")
        }
        labels = found["chexpert"] or found["negbio"]
        if labels is None:
            raise ThoraxError(
                f"{metadata.parent} has no labels beside {metadata.name}: mimic-cxr-2.0.0-chexpert.csv.gz"
            )
        count = len(frame)
        frame, lacking = frame.joined(Frame.read(labels), STUDY)
        if lacking:
            images = f"{lacking:,} of the {counted(count, 'image')} {are(lacking)}"
            frame.notes.append(f"{images} of studies that {labels.name} has not: left out")
        if found["chexpert"] and found["negbio"]:
            frame.notes.append(f"labels are those of {labels.name}; {found['negbio'].name} is not used")
        if found["split"] is not None:
            frame, lacking = frame.joined(Frame.read(found["split"], only=("dicom_id", "split")), ("dicom_id",))
            if lacking:
                frame.notes.append(f"{counted(lacking, 'image')} {are(lacking)} not in {found['split'].name}: left out")
        return frame

    def rows(self, channel: Channel, frame: Frame) -> LabelledRows:
        subjects, studies, names = (frame.ids(name) for name in (*STUDY, "dicom_id"))
        labels = finding_labels(channel, frame)
        split = frame.get("split")
        return LabelledRows(
            frame,
            [f"files/p{p[:2]}/p{p}/s{s}/{name}" for p, s, name in zip(subjects, studies, names, strict=True)],
            labels,
            [f"p{p}" for p in subjects],
            [f"p{p}/s{s}" for p, s in zip(subjects, studies, strict=True)],
            None if split is None else [part_of(word, f"{frame.row(n)}: the split") for n, word in enumerate(split)],
            attributes_of(frame),
        )

    def locate(self, channel: Channel) -> Locate:
        base = self.base(channel)
        return lambda rows: (by_path(channel, [base + path for path in rows.images], (".jpg", ".dcm", ".png")), [])
