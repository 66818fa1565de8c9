"""Labels as names, in tables: a text with several (A|B), or a column per label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thorax.data.formats.numbered import Labels
from thorax.errors import ThoraxError
from thorax.labels import NEGATIVE_NAMES

SEPARATORS = "|;"
_VALUES = {
    "1": 1.0,
    "1.0": 1.0,
    "0": 0.0,
    "0.0": 0.0,
    "": np.nan,
    "-1": np.nan,
    "-1.0": np.nan,
    "true": 1.0,
    "false": 0.0,
    "nan": np.nan,
}


def joined(texts: Sequence[str]) -> Labels:
    """The labels of texts such as "Mass|Nodule", "No Finding", "" and "Edema?" (unknown).

    "|" or ";" stands between labels. One label an image, and no more than one beside "No Finding", makes them classes.
    """
    separator = next((s for s in SEPARATORS if any(s in text for text in texts)), SEPARATORS[0])
    different = list(dict.fromkeys(texts))  # a few thousand combinations for a hundred thousand images
    split = [[part.strip() for part in text.split(separator) if part.strip()] for text in different]
    exclusive = all(len(parts) == 1 and not parts[0].endswith("?") for parts in split)
    if exclusive and any(parts[0].lower() == "no finding" for parts in split):
        exclusive = len({parts[0] for parts in split}) <= 2
    labels = {part for parts in split for part in parts if exclusive or part.lower() not in NEGATIVE_NAMES}
    names = tuple(sorted({label.removesuffix("?") for label in labels}))
    index = {name: k for k, name in enumerate(names)}
    targets = np.zeros((len(different), len(names)), np.float32)
    for n, parts in enumerate(split):
        for part in parts:
            if (k := index.get(part.removesuffix("?"))) is not None:
                targets[n, k] = np.nan if part.endswith("?") else 1.0
    row = {text: n for n, text in enumerate(different)}
    return Labels(names, targets[[row[text] for text in texts]], exclusive)


def columns(names: Sequence[str], values: Sequence[Sequence[str]], where: str, lines: Sequence[int]) -> np.ndarray:
    """(N, L) float32 of a column of texts per label: 1, 0, or blank or -1 for unknown.

    Raises:
        ThoraxError: another value, with its line.
    """
    targets = np.zeros((len(lines), len(names)), np.float32)
    for k, (name, column) in enumerate(zip(names, values, strict=True)):
        known = {text: _VALUES.get(text.strip().lower()) for text in set(column)}
        if None in known.values():
            n = next(n for n, text in enumerate(column) if known[text] is None)
            raise ThoraxError(
                f"{where} line {lines[n]}: {name}={column[n]!r} is not a label value; write 1, 0, or blank for unknown"
            )
        targets[:, k] = [known[text] for text in column]
    return targets
