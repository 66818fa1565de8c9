"""SageMaker's augmented manifest: a JSON object a line, with the image (`source-ref`) and its label.

Labels: a class index; a list of 0 and 1 per label (multi-hot); or a list of class indices (class-id). Ground Truth's
"...-metadata" with class-name or class-map names them. Of s3://bucket/a/b.png the longest end that the channel holds is
taken (a/b.png, b.png).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from thorax.data.columns import FileColumn
from thorax.data.formats.channel import Channel, ReadOptions, nearest
from thorax.data.formats.label_values import MANY, Labels, Where, from_bits, from_classes
from thorax.data.formats.registry import DataFormat
from thorax.data.patients import fill_patients
from thorax.data.samples import Listing
from thorax.errors import ThoraxError

IMAGE, PATIENT = "source-ref", "patient"


class Manifest(DataFormat):
    """A JSON object a line."""

    name = "manifest"
    help = "SageMaker's augmented manifest: a JSON object a line with source-ref and a label"
    what = "a manifest"
    endings: ClassVar = {".manifest": "application/jsonlines", ".jsonl": "application/jsonlines"}

    def read(self, channel: Channel) -> Listing:
        """Images of the manifest, in its order.

        Raises:
            ThoraxError: several manifests, a line that is no JSON object, an attribute that is missing, labels of
                several kinds or out of range, images that are not there.
        """
        file = channel.only(self.files(channel), "manifests")
        lines, rows = _rows(file)
        image, label = _attributes(file, rows[0], lines[0], channel.options.attribute_names)
        for name in (image, label):
            for line, row in zip(lines, rows, strict=True):
                if name not in row:
                    raise ThoraxError(
                        f"{file} line {line} has no attribute {name}{nearest(name, row)}; it has {', '.join(row)}"
                    )
        refs = [_place(channel, str(row[image]), f"{file} line {line}") for line, row in zip(lines, rows, strict=True)]
        places = channel.locate(refs, file, lines)
        known = _class_names(file, rows, label)
        names, targets, exclusive = _labels(file, lines, [row[label] for row in rows], known, channel.options)
        paths = channel.paths(places)
        given = ["" if row.get(PATIENT) is None else str(row[PATIENT]) for row in rows]
        return Listing(names, places, FileColumn(paths), targets, fill_patients(given, places, paths), exclusive)


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


def _attributes(file: Path, row: dict[str, Any], line: int, given: Sequence[str]) -> tuple[str, str]:
    """(image, label): the names that the user gave, else source-ref and the one attribute that can be a label."""
    if given:
        if len(given) != 2:
            raise ThoraxError(f"attribute_names={','.join(given)} must be two names: the image's and the label's")
        return given[0], given[1]
    labels = [
        name
        for name, value in row.items()
        if name not in (IMAGE, PATIENT) and not name.endswith("-metadata") and _numbers(value) is not None
    ]
    if IMAGE not in row or len(labels) != 1:
        what = f"no attribute {IMAGE}" if IMAGE not in row else f"{len(labels) or 'no'} attributes that can be a label"
        raise ThoraxError(
            f"{file} line {line} has {what}; it has {', '.join(row)}; name image and label by"
            " attribute_names=IMAGE,LABEL"
        )
    return IMAGE, labels[0]


def _numbers(value: Any) -> list[float] | float | None:
    """A label's value as numbers; AWS also writes them as texts: "1", "[0, 1]"."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if isinstance(value, list):
        return value if all(_number(v) for v in value) else None
    return value if _number(value) else None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _class_names(file: Path, rows: Sequence[dict[str, Any]], label: str) -> dict[int, str]:
    """Class index -> name, from all the lines' metadata."""
    names: dict[int, str] = {}
    for row in rows:
        about = row.get(f"{label}-metadata")
        if not isinstance(about, dict):
            continue
        pairs: list[tuple[Any, Any]] = []
        if isinstance(about.get("class-map"), dict):
            pairs = list(about["class-map"].items())
        elif "class-name" in about:
            pairs = [(row[label], about["class-name"])]
        for key, name in pairs:
            try:
                index = int(key)
            except (TypeError, ValueError, OverflowError):
                raise ThoraxError(f"{file}: {key!r} in {label}-metadata is no class index") from None
            if names.setdefault(index, str(name)) != str(name):
                raise ThoraxError(f"{file}: class {index} is called {names[index]} and {name} in {label}-metadata")
    return names


def _labels(
    file: Path, lines: Sequence[int], values: Sequence[Any], known: dict[int, str], options: ReadOptions
) -> Labels:
    def where(n: int) -> str:
        return f"{file} line {lines[n]}"

    numbers = [_numbers(value) for value in values]
    for n, value in enumerate(numbers):
        if value is None or isinstance(value, list) != isinstance(numbers[0], list):
            expected = "a list of numbers" if isinstance(numbers[0], list) else "a class index"
            raise ThoraxError(f"{where(n)}: the label {values[n]!r} is not {expected}")
    if not isinstance(numbers[0], list):
        indices = np.array(numbers, np.float64)
        if not known:
            return from_classes(indices, options, where)
        return Labels(*_named(indices[:, None].tolist(), known, where), True)
    lists: list[list[float]] = numbers  # type: ignore[assignment]
    if not known and _multi_hot(file, lists, options.label_format):
        width = len(lists[0])
        for n, row in enumerate(lists):
            if len(row) != width:
                raise ThoraxError(
                    f"{where(n)} has {len(row)} labels, those before it {width}; for class indices set"
                    " label_format=class-id"
                )
        return from_bits(np.array(lists, np.float64).reshape(len(lists), width), options, where)
    if not known:
        largest = int(max((max(row, default=0) for row in lists), default=0))
        count = len(options.labels) or options.num_classes or min(largest + 1, MANY)
        known = dict(enumerate(options.labels or map(str, range(count))))
    return Labels(*_named(lists, known, where), False)


def _multi_hot(file: Path, lists: Sequence[Sequence[float]], asked: str) -> bool:
    """Whether lists are a 0 or 1 per label. Lists of class indices never repeat a number."""
    if asked != "auto":
        return asked == "multi-hot"
    if len({len(row) for row in lists}) > 1 or any(v not in (0, 1, -1) for row in lists for v in row) or not lists[0]:
        return False
    if all(len(set(row)) == len(row) for row in lists):
        raise ThoraxError(
            f"{file}: labels such as {list(map(int, lists[0]))} may be multi-hot or class indices; set"
            " label_format=multi-hot or class-id"
        )
    return True


def _named(lists: Sequence[Sequence[float]], known: dict[int, str], where: Where) -> tuple[tuple[str, ...], np.ndarray]:
    column = {index: k for k, index in enumerate(sorted(known))}
    targets = np.zeros((len(lists), len(column)), np.float32)
    for n, row in enumerate(lists):
        for index in row:
            if index not in column:
                some = ", ".join(f"{i} {known[i]}" for i in sorted(known)[:8])
                raise ThoraxError(f"{where(n)}: class {index:g} is out of range; known are {some}")
            targets[n, column[int(index)]] = 1
    return tuple(known[index] for index in sorted(known)), targets


def _place(channel: Channel, ref: str, where: str) -> str:
    """An s3 address as its longest end that is in the channel; anything else as it is."""
    if not ref.startswith("s3://"):
        return ref
    parts = ref.removeprefix("s3://").split("/")[1:]
    ends = ("/".join(parts[k:]) for k in range(len(parts)))
    return next((end for end in ends if end in channel.everything), channel.relative("/".join(parts), where))
