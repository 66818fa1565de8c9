"""Several rows of one image (boxes, readers) become one, by a stated rule; or they are refused with their lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from thorax.data.formats.frame import Frame
from thorax.data.formats.table_labels import TableLabels
from thorax.errors import ThoraxError
from thorax.text import counted, has

_RULES = {
    "any": "a label counts where any of its rows has it",
    "majority": "a label counts where more than half of its rows have it; half is uncertain",
    "mean": "a label is the share of its rows that have it",
}


def merged(
    images: Sequence[str], labels: TableLabels, frame: Frame, rule: str
) -> tuple[np.ndarray, TableLabels, list[str]]:
    """One row for each image.

    Args:
        images: (N,) what names the image of each row.
        labels: of the rows.
        frame: the rows, for errors.
        rule: any, majority or mean; auto: rows of one image must say the same.

    Returns:
        (M,) the first row of each image, the M images' labels, and a line where rows were merged.

    Raises:
        ThoraxError: rows of one image differ, with rule auto or exclusive classes; names both lines.
    """
    if len(set(images)) == len(images):
        return np.arange(len(images)), labels, []
    index: dict[str, int] = {}
    image = np.fromiter((index.setdefault(name, len(index)) for name in images), np.int64, len(images))
    count = len(index)
    order = np.argsort(image, kind="stable")
    starts = np.searchsorted(image[order], np.arange(count))
    first = order[starts]
    differ = _differing(labels, image, first)
    several = int((np.bincount(image) > 1).sum())
    rows = (
        f"{counted(several, 'image')} {has(several)} several rows ({len(images):,} rows of {counted(count, 'image')})"
    )
    if not differ.any():
        return first, labels.take(first), [f"{rows}, which say the same of each: taken once"]
    if rule == "auto" or labels.exclusive:
        n = int(np.flatnonzero(differ)[0])
        advice = "correct one of them" if labels.exclusive else "set readers=any, majority or mean to merge them"
        raise ThoraxError(
            f"{frame.row(n)} has {images[n]} a second time, with other labels than {frame.row(int(first[image[n]]))};"
            f" {advice}"
        )
    unlike = len(set(image[differ].tolist()))
    note = f"{rows}, which differ for {unlike:,}; merged by readers={rule}: {_RULES[rule]}"
    return first, _by_rule(labels, order, starts, rule), [note]


def check_same(values: Sequence[str], images: Sequence[str], frame: Frame, what: str) -> None:
    """Raises ThoraxError where two rows of one image say two values, with both lines."""
    place: dict[str, int] = {}
    for n, (name, value) in enumerate(zip(images, values, strict=True)):
        first = place.setdefault(name, n)
        if values[first] != value:
            raise ThoraxError(
                f"{frame.row(n)} gives {name} the {what} {value or 'blank'}, but {frame.row(first)} the {what}"
                f" {values[first] or 'blank'}; an image has one"
            )


def _codes(labels: TableLabels) -> np.ndarray:
    codes = np.where(np.isnan(labels.targets), -1, labels.targets)
    if labels.uncertain is not None:
        codes[labels.uncertain] = -2
    return codes


def _differing(labels: TableLabels, image: np.ndarray, first: np.ndarray) -> np.ndarray:
    codes = _codes(labels)
    return np.asarray((codes != codes[first[image]]).any(axis=1))


def _by_rule(labels: TableLabels, order: np.ndarray, starts: np.ndarray, rule: str) -> TableLabels:
    values = labels.targets[order]
    known = np.add.reduceat(~np.isnan(values), starts, axis=0, dtype=np.int64)
    positive = np.add.reduceat(np.nan_to_num(values), starts, axis=0)
    unsure = np.zeros(known.shape, bool)
    if labels.uncertain is not None:
        unsure = np.logical_or.reduceat(labels.uncertain[order], starts, axis=0)
    with np.errstate(invalid="ignore"):
        share = (positive / known).astype(np.float32)  # NaN where nothing is known
    if rule == "any":
        targets = np.where(positive > 0, 1, np.where(unsure, np.nan, share * 0))
    elif rule == "majority":
        unsure |= share == 0.5
        targets = np.where(share == 0.5, np.nan, share > 0.5)
        targets[known == 0] = np.nan
    else:
        targets = share
    targets = targets.astype(np.float32)
    unsure &= np.isnan(targets)
    return replace(labels, targets=targets, uncertain=unsure if unsure.any() else None)
