"""Labels of a manifest's lines: class indices, lists, boxes, and the names that `...-metadata` gives them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thorax.data.formats.channel import ReadOptions
from thorax.data.formats.label_texts import from_texts
from thorax.data.formats.label_values import MANY, Labels, Where, from_bits, from_classes
from thorax.data.formats.names import check_spellings
from thorax.data.formats.table_labels import TableLabels
from thorax.errors import ThoraxError


def numbers_of(value: Any) -> list[float] | float | None:
    """A label's value as numbers, or None.

    AWS also writes them as texts: "1", "[0, 1]". Boxes of Ground Truth and Rekognition are the list of their classes.
    """
    if isinstance(value, dict) and isinstance(boxes := value.get("annotations"), list):
        value = [box.get("class_id") if isinstance(box, dict) else None for box in boxes]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, list):
        return value if all(_number(v) for v in value) else None
    return value if _number(value) else None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def class_names(file: Path, rows: Sequence[dict[str, Any]], label: str) -> dict[int, str]:
    """Class index -> name, from all the lines' metadata."""
    names: dict[int, str] = {}
    for row in rows:
        about = row.get(f"{label}-metadata")
        if not isinstance(about, dict):
            continue
        pairs: list[tuple[Any, Any]] = []  # of boxes too
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
    check_spellings(names.values(), f"{file}: {label}-metadata")
    return names


def labels_of(
    file: Path, lines: Sequence[int], values: Sequence[Any], known: dict[int, str], options: ReadOptions
) -> Labels:
    def where(n: int) -> str:
        return f"{file} line {lines[n]}"

    numbers = [numbers_of(value) for value in values]
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


def about(row: dict[str, Any], label: str) -> dict[str, Any]:
    """The metadata of a label; {} without any."""
    found = row.get(f"{label}-metadata")
    return found if isinstance(found, dict) else {}


def are_texts(values: Sequence[Any]) -> bool:
    """Whether a label's values are names: texts that are no numbers, or lists of them."""
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    return bool(texts) and all(isinstance(t, str) for t in texts) and any(numbers_of(value) is None for value in values)


def text_labels(values: Sequence[Any], options: ReadOptions) -> TableLabels:
    """Labels that are names, as in a table: "PNEUMONIA", "Mass|Edema" or ["Mass", "Edema"]."""
    texts = ["|".join(value) if isinstance(value, list) else value for value in values]
    lists = any(isinstance(value, list) for value in values)
    return from_texts(texts, options.table.blank, True if lists else options.table.multi_label)


def named_labels(rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> Labels:
    """Of several attributes that each stand for one class, as Rekognition writes them: an image has the classes whose
    attributes it has; exactly one on each image makes them exclusive."""
    names = tuple(str(next(about(row, label)["class-name"] for row in rows if label in row)) for label in labels)
    check_spellings(names, "the manifest")
    targets = np.array([[float(label in row) for label in labels] for row in rows], np.float32)
    return Labels(names, targets, bool((targets.sum(axis=1) == 1).all()))
