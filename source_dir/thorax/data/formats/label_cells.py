"""A column per label: what its cells mean."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from thorax.data.formats.frame import Frame
from thorax.data.formats.names import BLANK, check_spellings
from thorax.data.formats.table_labels import TableLabels
from thorax.errors import ThoraxError
from thorax.text import counted, has

_MEANINGS = (
    (1.0, "1 true yes y t positive pos present"),
    (0.0, "0 false no n f negative neg absent"),
    (-1.0, "-1 u uncertain ? maybe equivocal"),
)
_WORDS = {word: value for value, words in _MEANINGS for word in words.split()}
#: Run lengths of a mask: pairs of start and length.
_MASK = re.compile(r"\d+(\s+\d+)+")
_HELP = (
    "write 1, 0, -1 for uncertain, or blank for unknown (true/false, yes/no, positive/negative too); label_columns"
    " names the columns that are labels"
)


def from_columns(names: Sequence[str], columns: Sequence[Sequence[str]], frame: Frame) -> TableLabels:
    """The labels of a column each.

    Args:
        names: of the labels, one per column.
        columns: (L, N) texts.
        frame: their rows, for errors.

    Raises:
        ThoraxError: a cell that means nothing, with its line.
    """
    check_spellings(names, frame.name)
    targets = np.zeros((len(frame), len(names)), np.float32)
    uncertain = np.zeros(targets.shape, bool)
    notes = []
    for k, (name, column) in enumerate(zip(names, columns, strict=True)):
        meanings = {text: _meaning(text) for text in set(column)}
        if masks := {text for text in meanings if _is_mask(text)}:
            meanings |= dict.fromkeys(masks, 1.0) | {text: 0.0 for text in meanings if text.strip() == "-1"}
            rows = sum(text in masks for text in column)
            notes.append(f"{name}: {counted(rows, 'row')} with run lengths of a mask {has(rows)} the label; -1 is none")
        if None in meanings.values():
            n = next(n for n, text in enumerate(column) if meanings[text] is None)
            raise ThoraxError(f"{frame.row(n)}: {name}={column[n]!r} is not a label value; {_HELP}")
        targets[:, k] = np.fromiter(map(meanings.__getitem__, column), np.float32, len(column))
        uncertain[:, k] = targets[:, k] == -1
    targets[uncertain] = np.nan
    return TableLabels(tuple(names), targets, False, uncertain if uncertain.any() else None, tuple(notes))


def is_cell(text: str) -> bool:
    """Whether the text is a value of one label, and no name of a class."""
    return _is_mask(text) or _meaning(text) is not None


def _is_mask(text: str) -> bool:
    return len(text) > 2 and _MASK.fullmatch(text.strip()) is not None


def _meaning(text: str) -> float | None:
    """1, 0, -1 uncertain, NaN blank; None where it means nothing."""
    plain = text.strip().casefold()
    if plain in BLANK:
        return float("nan")
    if plain in _WORDS:
        return _WORDS[plain]
    try:
        number = float(plain)
    except ValueError:
        return None
    return number if number in (1.0, 0.0, -1.0) else None
