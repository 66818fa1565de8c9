"""Numbers of labels (.lst, RecordIO, manifests) become targets: a class index an image, or 0 and 1 per label."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from thorax.data.formats.channel import ReadOptions
from thorax.errors import ThoraxError

Where = Callable[[int], str]
#: Class indices from here on are a mistake, such as columns that changed places, unless num_classes allows them.
MANY = 1000


class Labels(NamedTuple):
    """What a format makes of its labels: names, (N, L) float32 targets (1, 0, NaN unknown), and whether each image has
    exactly one of the names."""

    names: tuple[str, ...]
    targets: np.ndarray
    exclusive: bool


def from_numbers(values: np.ndarray, options: ReadOptions, where: Where) -> Labels:
    """The labels of the images' numbers.

    Args:
        values: (N, K). K = 1: the class's index, from 0; K > 1, or where `labels` names one alone: 1 has the label,
            0 has it not, -1 or NaN unknown.
        options: `labels` names the indices (columns) in their order, `num_classes` says how many there are.
        where: gives the place of row n, such as "train.lst line 3".

    Raises:
        ThoraxError: an index or value out of range, or another number of columns than there are labels.
    """
    if values.shape[1] > 1 or len(options.labels) == 1:
        return from_bits(values, options, where)
    return from_classes(values[:, 0], options, where)


def from_classes(numbers: np.ndarray, options: ReadOptions, where: Where) -> Labels:
    """As `from_numbers`, for (N,) class indices."""
    count = len(options.labels) or options.num_classes
    given = f"labels={','.join(options.labels)}" if options.labels else f"num_classes={options.num_classes}"
    bad = (numbers < 0) | (numbers != np.floor(numbers)) | ~np.isfinite(numbers) | (numbers >= (count or MANY))
    if bad.any():
        n = int(np.flatnonzero(bad)[0])
        any_class = f"a whole number from 0 to {MANY - 1}; set num_classes for more"
        limit = f"0 to {count - 1} ({given})" if count else any_class
        raise ThoraxError(f"{where(n)}: class {numbers[n]:g} is out of range; it must be {limit}")
    names = options.labels or tuple(str(k) for k in range(count or int(numbers.max(initial=0)) + 1))
    targets = np.zeros((len(numbers), len(names)), np.float32)
    targets[np.arange(len(numbers)), numbers.astype(int)] = 1
    return Labels(names, targets, True)


def from_bits(values: np.ndarray, options: ReadOptions, where: Where) -> Labels:
    """As `from_numbers`, for a column of 0, 1 and -1 per label."""
    width = values.shape[1]
    for count, given in (
        (len(options.labels), f"labels={','.join(options.labels)}"),
        (options.num_classes, f"num_classes={options.num_classes}"),
    ):
        if count and count != width:
            raise ThoraxError(f"{where(0)} has {width} labels, but {given} says {count}")
    known = np.where(values == -1, np.nan, values)
    bad = np.argwhere(~(np.isnan(known) | (known == 0) | (known == 1)))
    if len(bad):
        n, k = bad[0]
        raise ThoraxError(
            f"{where(n)}: label {k + 1} of {width} is {values[n, k]:g}, which is out of range; it must be 1, 0, or -1"
            " for unknown"
        )
    return Labels(options.labels or tuple(str(k) for k in range(width)), known.astype(np.float32), False)
