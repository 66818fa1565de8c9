"""CheXpert as published, and tables of CheXpert's labels: 13 findings of 1, 0, -1 (uncertain) and blank."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import replace
from typing import ClassVar

import numpy as np

from thorax.data.formats.attributes import attributes_of, view
from thorax.data.formats.channel import PARTS, Channel
from thorax.data.formats.frame import Frame
from thorax.data.formats.label_cells import from_columns
from thorax.data.formats.labelled import LabelledRows, Locate
from thorax.data.formats.names import key
from thorax.data.formats.places import by_path
from thorax.data.formats.published import PublishedSet
from thorax.data.formats.table_labels import TableLabels
from thorax.errors import ThoraxError
from thorax.text import counted

FINDINGS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
NONE, DEVICES = "No Finding", "Support Devices"


class CheXpert(PublishedSet):
    """train.csv and valid.csv, in the set's root or the folder above it.

    The set of full size comes in folders such as "CheXpert-v1.0 batch 2 (train 1)/patient00001/" beside that of the
    tables: there, images are found by patient, study and name.
    """

    name = "chexpert"
    help = "CheXpert as published: train.csv, valid.csv and the folders train/, valid/"
    what = "CheXpert's tables"
    table: ClassVar = re.compile(r"(train|valid|test)\.csv(\.gz)?", re.IGNORECASE)
    columns: ClassVar = ("Path", "Enlarged Cardiomediastinum", DEVICES)
    image_column: ClassVar = "Path"

    def image_key(self, path: str) -> str:
        """From the patient on: names of files repeat, and no patient is in two parts."""
        return _end(path)

    def rows(self, channel: Channel, frame: Frame) -> LabelledRows:
        paths = frame.need("Path")
        pieces = [path.strip().split("/")[-4:] for path in paths]
        for n, piece in enumerate(pieces):
            if len(piece) != 4 or piece[0] not in PARTS or not piece[1].startswith("patient"):
                raise ThoraxError(
                    f"{frame.row(n)}: {paths[n]} is no path of CheXpert, train/patient00001/study1/NAME.jpg"
                )
        about = attributes_of(frame)
        if (sides := frame.get("Frontal/Lateral")) is not None and (given := frame.get("AP/PA")) is not None:
            both = list(zip(sides, given, strict=True))
            known = {(a, b): view(b if b and a == "Frontal" else a) for a, b in set(both)}
            about["view"] = [known[pair] for pair in both]
        return LabelledRows(
            frame,
            ["/".join(piece) for piece in pieces],
            finding_labels(channel, frame),
            [patient for _, patient, _, _ in pieces],
            [f"{patient}/{study}" for _, patient, study, _ in pieces],
            [PARTS[part] for part, _, _, _ in pieces],
            about,
        )

    def locate(self, channel: Channel) -> Locate:
        base = self.base(channel)

        def places(rows: LabelledRows) -> tuple[list[str], list[str]]:
            found = by_path(channel, [base + path for path in rows.images])
            if not all(found):
                lost = [k for k, place in enumerate(found) if not place]
                batches = _in_batches(channel, {_end(rows.images[k]) for k in lost})
                for k in lost:
                    found[k] = batches.get(_end(rows.images[k]), "")
            return found, []

        return places


def _end(path: str) -> str:
    """patient00001/study1/NAME of a path."""
    return "/".join(path.strip().split("/")[-3:])


def _in_batches(channel: Channel, wanted: Set[str]) -> dict[str, str]:
    """Place of each of these images in a folder that is no part: BATCH/patient00001/study1/NAME.

    Raises:
        ThoraxError: one is in two folders.
    """
    found: dict[str, str] = {}
    for place in channel.everything:
        if (end := _end(place)) in wanted and (other := found.setdefault(end, place)) != place:
            one, two = sorted((other, place))
            raise ThoraxError(f"{end} is there as {one} and as {two} in {channel.folder}; leave one of them")
    return found


def finding_labels(channel: Channel, frame: Frame) -> TableLabels:
    """The 13 findings, and No Finding where `labels` asks for it; notes count what No Finding made known.

    The labeler says No Finding where no finding but Support Devices is positive or uncertain (Irvin et al., "CheXpert",
    2019): there, blank findings are negative. Rows that say it beside such a finding are left as they are.
    """
    asked = [NONE] if any(key(name) == key(NONE) for name in channel.options.labels) else []
    names = [*FINDINGS, *asked]
    for name in [*names, NONE]:
        if lacking := frame.lacking.get(frame.find(name) or ""):
            raise ThoraxError(
                f"{lacking} has no column {name}, which {frame.name} need; its labels would all be unknown"
            )
    labels = from_columns(names, [frame.need(name) for name in names], frame)
    says_none = from_columns([NONE], [frame.need(NONE)], frame).targets[:, 0] == 1
    findings = [k for k, name in enumerate(names) if name not in (NONE, DEVICES)]
    found = labels.targets[:, findings] == 1
    if labels.uncertain is not None:
        found |= labels.uncertain[:, findings]
    both = says_none & found.any(axis=1)
    none = says_none & ~both
    fill = np.zeros(labels.targets.shape, bool)
    fill[:, findings] = none[:, None] & np.isnan(labels.targets[:, findings])
    labels.targets[fill] = 0
    notes = []
    if fill.any():
        blanks = f"{fill.sum():,} blank findings of theirs (not Support Devices)"
        notes.append(f"{counted(int(none.sum()), 'row')} with No Finding: {blanks} are negative")
    if both.any():
        first = frame.row(int(np.flatnonzero(both)[0]))
        notes.append(f"{counted(int(both.sum()), 'row')} with No Finding and a finding, left as written: {first} ...")
    return replace(labels, notes=(*labels.notes, *notes))
