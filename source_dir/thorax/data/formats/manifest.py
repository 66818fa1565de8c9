"""SageMaker's augmented manifest: a JSON object a line, with the image (`source-ref`) and its label.

Labels: a class index; a list of 0 and 1 per label (multi-hot); a list of class indices (class-id); boxes; or, as
Rekognition has it, an attribute per class. Ground Truth's "...-metadata" with class-name or class-map names them. Of
s3://bucket/a/b.png the longest end that the channel holds is taken (a/b.png, b.png).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from thorax.data.columns import FileColumn
from thorax.data.formats.channel import Channel, ReadOptions, nearest, shortened
from thorax.data.formats.label_values import Labels
from thorax.data.formats.manifest_labels import (
    about,
    are_texts,
    class_names,
    labels_of,
    named_labels,
    numbers_of,
    text_labels,
)
from thorax.data.formats.registry import DataFormat
from thorax.data.formats.table import LABELS_COLUMNS
from thorax.data.patients import fill_patients, patient_column
from thorax.data.samples import Listing
from thorax.errors import ThoraxError
from thorax.text import counted

IMAGE = "source-ref"
#: Type of an attribute of Ground Truth that says whether another one is right.
VERIFICATION = "groundtruth/label-verification"


class Manifest(DataFormat):
    """A JSON object a line."""

    name = "manifest"
    help = "SageMaker's augmented manifest: a JSON object a line with source-ref and a label"
    what = "a manifest"
    endings: ClassVar = {".manifest": "application/jsonlines", ".jsonl": "application/jsonlines"}

    def read(self, channel: Channel) -> Listing:
        """Images of the manifest, in its order; lines that Ground Truth failed to label are counted and left out.

        Raises:
            ThoraxError: several manifests, a line that is no JSON object, an attribute that is missing, labels of
                several kinds or out of range, images that are not there.
        """
        file = channel.only(self.files(channel), "manifests")
        lines, rows, notes = _without_failed(*_rows(file), file)
        image, labels = _attributes(file, rows, lines, channel.options.attribute_names)
        if len(labels) > 1:
            lines, rows = _with_any(lines, rows, labels, notes)
        for name in (image, *(labels if len(labels) == 1 else ())):
            for line, row in zip(lines, rows, strict=True):
                if name not in row:
                    raise ThoraxError(
                        f"{file} line {line} has no attribute {name}{nearest(name, row)}; it has {', '.join(row)}"
                    )
        refs = [_place(channel, str(row[image]), f"{file} line {line}") for line, row in zip(lines, rows, strict=True)]
        places = channel.locate(refs, file, lines)
        uncertain, label_notes = None, tuple[str, ...]()
        if len(labels) == 1 and are_texts([row[labels[0]] for row in rows]):
            found = text_labels([row[labels[0]] for row in rows], channel.options)
            kept = np.flatnonzero(~np.isnan(found.targets).any(axis=1) | (not found.exclusive))
            found, label_notes = found.take(kept), found.notes
            names, targets, exclusive, uncertain = found.names, found.targets, found.exclusive, found.uncertain
            rows, places = [rows[n] for n in kept], [places[n] for n in kept]
        elif len(labels) > 1:
            names, targets, exclusive = named_labels(rows, labels)
        else:
            names, targets, exclusive = _of_one(file, lines, rows, labels[0], channel.options)
        person = patient_column(name for row in rows for name in row)
        notes += _notes(rows, {image, person, *labels}, labels)
        paths = channel.paths(places)
        given = ["" if row.get(person) is None else str(row[person]).strip() for row in rows]
        patients = fill_patients(given, places, paths)
        return Listing(
            names,
            places,
            FileColumn(paths),
            targets,
            patients,
            exclusive,
            notes=(*label_notes, *notes),
            unnamed=0.0,
            uncertain=uncertain,
            label_notes=label_notes,
        )


def _of_one(
    file: Path, lines: Sequence[int], rows: Sequence[dict[str, Any]], label: str, options: ReadOptions
) -> Labels:
    """The labels of one attribute."""
    values = [row[label] for row in rows]
    written = [about(row, label).get("class-name") for row in rows]
    if None not in written and len({str(value) for value in values}) == 1 and len(set(map(str, written))) > 1:
        numbers = {name: k for k, name in enumerate(sorted(set(map(str, written))))}  # Rekognition: each is 1
        return labels_of(
            file, lines, [numbers[str(name)] for name in written], {k: name for name, k in numbers.items()}, options
        )
    return labels_of(file, lines, values, class_names(file, rows, label), options)


def _without_failed(
    lines: list[int], rows: list[dict[str, Any]], file: Path
) -> tuple[list[int], list[dict[str, Any]], list[str]]:
    """(lines, rows, notes) without those that Ground Truth failed to label.

    Raises:
        ThoraxError: all failed.
    """
    reasons = [
        next((str(v["failure-reason"]) for v in row.values() if isinstance(v, dict) and v.get("failure-reason")), "")
        for row in rows
    ]
    kept = [n for n, reason in enumerate(reasons) if not reason]
    if len(kept) == len(rows):
        return lines, rows, []
    n = next(n for n, reason in enumerate(reasons) if reason)
    text = f"Ground Truth failed to label, e.g. line {lines[n]}: {' '.join(reasons[n].split())[:120]}"
    if not kept:
        raise ThoraxError(f"{file}: all of its {counted(len(rows), 'line')} are images that {text}")
    note = f"{len(rows) - len(kept):,} of {counted(len(rows), 'line')} left out, which {text}"
    return [lines[n] for n in kept], [rows[n] for n in kept], [note]


def _with_any(
    lines: list[int], rows: list[dict[str, Any]], labels: Sequence[str], notes: list[str]
) -> tuple[list[int], list[dict[str, Any]]]:
    """The rows that have any of the labels: an image that nobody has looked at is no negative."""
    kept = [n for n, row in enumerate(rows) if any(label in row for label in labels)]
    if lacking := len(rows) - len(kept):
        line = next(line for line, row in zip(lines, rows, strict=True) if not any(name in row for name in labels))
        notes.append(f"{lacking:,} of {counted(len(rows), 'line')} without any label left out, e.g. line {line}")
    return [lines[n] for n in kept], [rows[n] for n in kept]


def _notes(rows: Sequence[dict[str, Any]], used: Collection[str], labels: Sequence[str]) -> list[str]:
    """Lines on attributes that are not used, and on labels that a machine gave."""
    notes = []
    unused = dict.fromkeys(
        name for row in rows for name in row if name not in used and name.removesuffix("-metadata") not in used
    )
    if unused:
        notes.append(f"attributes that are not used: {shortened(list(unused), 8)}")
    machine = [
        about(row, label) for row in rows for label in labels if str(about(row, label).get("human-annotated")) == "no"
    ]
    if machine:
        notes.append(
            f"{counted(len(machine), 'label')} given by a machine (human-annotated no), whatever their confidence"
        )
    return notes


def _rows(file: Path) -> tuple[list[int], list[dict[str, Any]]]:
    lines, rows = [], []
    with file.open("rb") as stream:
        for number, text in enumerate(stream, 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise ThoraxError(f"{file} line {number} is not JSON: {error}") from None
            if not isinstance(row, dict):
                start = str(text.strip()[:40], "utf-8", "replace")
                raise ThoraxError(f"{file} line {number} is not a JSON object with attributes but {start}")
            lines.append(number)
            rows.append(row)
    if not rows:
        raise ThoraxError(f"{file} has no lines")
    return lines, rows


def _attributes(
    file: Path, rows: Sequence[dict[str, Any]], lines: Sequence[int], given: Sequence[str]
) -> tuple[str, list[str]]:
    """(image, labels): the names that the user gave, else source-ref and the one attribute that can be a label, or
    those of Rekognition that stand for a class each."""
    if given:
        if len(given) != 2:
            raise ThoraxError(f"attribute_names={','.join(given)} must be two names: the image's and the label's")
        return given[0], [given[1]]
    row = rows[0]
    values = {name: value for row in reversed(rows) for name, value in row.items()}
    labels = [
        name
        for name, value in values.items()
        if name != IMAGE
        and not patient_column([name])
        and not name.endswith("-metadata")
        and (numbers_of(value) is not None or (name.lower() in LABELS_COLUMNS and are_texts([value])))
    ]
    labels = [name for name in labels if about(row, name).get("type") != VERIFICATION] or labels
    one_each = [{str(about(row, name).get("class-name")) for row in rows if name in row} - {"None"} for name in labels]
    differ = all(len(names) == 1 for names in one_each) and len(set().union(*one_each)) == len(labels)
    if IMAGE in row and len(labels) > 1 and differ:
        return IMAGE, sorted(labels)
    if IMAGE not in row or len(labels) != 1:
        what = f"no attribute {IMAGE}" if IMAGE not in row else f"{len(labels) or 'no'} attributes that can be a label"
        raise ThoraxError(
            f"{file} line {lines[0]} has {what}; it has {', '.join(row)}; name image and label by"
            " attribute_names=IMAGE,LABEL"
        )
    return IMAGE, labels


def _place(channel: Channel, ref: str, where: str) -> str:
    """An s3 address as its longest end that is in the channel, or as the one file whose path ends with its own;
    anything else as it is."""
    if not ref.startswith("s3://"):
        return ref
    key = ref.removeprefix("s3://").partition("/")[2]
    parts = key.split("/")
    ends = ("/".join(parts[k:]) for k in range(len(parts)))
    if end := next((end for end in ends if end in channel.everything), ""):
        return end
    found = channel.by_end(key, where)
    return found if found.endswith(f"/{key}") else channel.relative(key, where)
