"""The built-in algorithm's .lst: index, tab, one class or a column of 0 and 1 per label, tab, path.

It lies in a channel of its own (train_lst beside train) or in the channel itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from thorax.data.columns import FileColumn
from thorax.data.formats.channel import Channel
from thorax.data.formats.label_values import from_numbers
from thorax.data.formats.registry import IMAGES, DataFormat
from thorax.data.patients import patients_of
from thorax.data.samples import Listing
from thorax.errors import ThoraxError


class Rows(NamedTuple):
    """The lines of a .lst: line numbers, indices, (N, K) float64 labels, paths."""

    lines: list[int]
    indices: list[int]
    values: np.ndarray
    paths: list[str]


class Lst(DataFormat):
    """A list of indices, labels and paths."""

    name = "lst"
    help = "SageMaker's built-in algorithm's .lst: index, label(s) and path between tabs"
    what = "a list"
    endings: ClassVar = {".lst": IMAGES}

    def files(self, channel: Channel) -> list[str]:
        records = {name[:-4].lower() for name in channel.ending(".rec")}  # a list beside its .rec belongs to it
        return [name for name in channel.ending(".lst") if name[:-4].lower() not in records]

    def read(self, channel: Channel) -> Listing:
        """Images of the list, in its order.

        Raises:
            ThoraxError: see `read_rows`, Channel.locate and `from_numbers`; or not just one list.
        """
        rows = read_rows(table := _the_list(channel))
        names, targets, exclusive = from_numbers(
            rows.values, channel.options, lambda n: f"{table} line {rows.lines[n]}"
        )
        places = channel.locate(rows.paths, table, rows.lines)
        paths, unnamed = channel.paths(places), 0.0 if exclusive else np.nan
        patients = patients_of(places, paths)
        return Listing(names, places, FileColumn(paths), targets, patients, exclusive, unnamed=unnamed)


def _the_list(channel: Channel) -> Path:
    if channel.lists is not None and channel.lists.is_file():
        return channel.lists
    folder = channel.lists or channel.folder
    lists = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".lst" and not path.name.startswith("."))
    if len(lists) != 1:
        named = f" ({', '.join(path.name for path in lists[:4])})" if lists else ""
        raise ThoraxError(f"{folder} holds {len(lists)} .lst files{named}; expected one")
    return lists[0]


def read_rows(table: Path) -> Rows:
    """The lines of a .lst.

    Raises:
        ThoraxError: not UTF-8, no lines, another number of columns than the first line has, an index or label that is
            no number, or an index twice; with the line.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ThoraxError(f"{table} is not a text in UTF-8: {error}") from None
    lines, indices, labels, paths = [], [], [], []
    first: dict[int, int] = {}
    width = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        index, *between = line.split("\t")
        if len(between) < 2 or len(between) != (width or len(between)):
            expected = f"the lines above have {width + 1}" if width else "expected an index, one or more labels, a path"
            raise ThoraxError(f"{table} line {number} has {len(between) + 1} columns between tabs; {expected}")
        width = len(between)
        try:
            key = int(float(index))
            labels.append([float(value) for value in between[:-1]])
        except (ValueError, OverflowError) as error:
            word = index.strip() if "convert float" in str(error) else str(error).split(":")[-1].strip()
            raise ThoraxError(f"{table} line {number}: {word} is no number; a line is index, labels, path") from None
        if first.setdefault(key, number) != number:
            raise ThoraxError(f"{table} line {number} has the index {key} of line {first[key]} again")
        lines.append(number)
        indices.append(key)
        paths.append(between[-1].strip())
    if not lines:
        raise ThoraxError(f"{table} has no lines")
    return Rows(lines, indices, np.array(labels), paths)
