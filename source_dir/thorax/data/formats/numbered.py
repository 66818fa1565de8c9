"""Labels told by numbers, in .lst, RecordIO and manifests.

One class index an image, or a column of 0 and 1 per label.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from thorax.data.formats.channel import ReadOptions
from thorax.errors import ThoraxError

Where = Callable[[int], str]
#: A class index from here on is taken for a mistake, such as columns that changed places, unless num_classes says
#: otherwise.
MANY = 1000


def labelled(values: np.ndarray, options: ReadOptions, where: Where) -> tuple[tuple[str, ...], np.ndarray, bool]:
    """(names, targets (N, L) float32, exclusive) of an image's numbers.

    Args:
        values: (N, K). K = 1: the class's index, from 0; K > 1, or where `labels` names one alone: 1 has the label, 0
            has it not,
            -1 or NaN unknown.
        options: `labels` names the indices (columns) in their order, `num_classes` says how many there are.
        where: says where row n comes from, such as "train.lst line 3".

    Raises:
        ThoraxError: an index or value out of range, or another number of columns than there are labels.
    """
    if values.shape[1] > 1 or len(options.labels) == 1:
        return columns(values, options, where)
    return classes(values[:, 0], options, where)


def classes(numbers: np.ndarray, options: ReadOptions, where: Where) -> tuple[tuple[str, ...], np.ndarray, bool]:
    """As `labelled`, for (N,) class indices."""
    count = len(options.labels) or options.num_classes
    told = f"labels={','.join(options.labels)}" if options.labels else f"num_classes={options.num_classes}"
    bad = (numbers < 0) | (numbers != np.floor(numbers)) | ~np.isfinite(numbers) | (numbers >= (count or MANY))
    if bad.any():
        n = int(np.flatnonzero(bad)[0])
        limit = (
            f"0 to {count - 1} ({told})" if count else f"a whole number from 0 to {MANY - 1}; set num_classes for more"
        )
        raise ThoraxError(f"{where(n)}: class {numbers[n]:g} is out of range; it must be {limit}")
    names = options.labels or tuple(str(k) for k in range(count or int(numbers.max(initial=0)) + 1))
    targets = np.zeros((len(numbers), len(names)), np.float32)
    targets[np.arange(len(numbers)), numbers.astype(int)] = 1
    return names, targets, True


def columns(values: np.ndarray, options: ReadOptions, where: Where) -> tuple[tuple[str, ...], np.ndarray, bool]:
    """As `labelled`, for a column of 0, 1 and -1 per label."""
    width = values.shape[1]
    for count, told in (
        (len(options.labels), f"labels={','.join(options.labels)}"),
        (options.num_classes, f"num_classes={options.num_classes}"),
    ):
        if count and count != width:
            raise ThoraxError(f"{where(0)} has {width} labels, but {told} says {count}")
    known = np.where(values == -1, np.nan, values)
    bad = np.argwhere(~(np.isnan(known) | (known == 0) | (known == 1)))
    if len(bad):
        n, k = bad[0]
        raise ThoraxError(
            f"{where(n)}: label {k + 1} of {width} is {values[n, k]:g}, which is out of range; it must be 1, 0, or -1"
            " for unknown"
        )
    return options.labels or tuple(str(k) for k in range(width)), known.astype(np.float32), False
