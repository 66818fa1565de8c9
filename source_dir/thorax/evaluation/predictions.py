"""Predictions as a table: what a run writes, what batch output is, and what can be scored again.

A row per image with the columns `id`, optional `part`, `patient` and `study`, and for each label `probability:LABEL`,
`decision:LABEL` (1 or 0) and optional `target:LABEL` (1, 0, blank = unknown). CSV or Parquet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thorax.errors import ThoraxError
from thorax.evaluation.arrays import Array
from thorax.labels import LabelSpace
from thorax.tables import read_table

_TARGETS = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": np.nan, "-1": np.nan, "-1.0": np.nan}


@dataclass(frozen=True)
class Predictions:
    """The answers of a classifier on N images.

    Attributes:
        ids, patients: one for each image.
        targets: (N, L) in {0, 1, NaN = unknown}.
        probabilities: (N, L) float32 in 0..1, calibrated.
        studies: one for each image, "" where it is not known; empty: none is known.
    """

    ids: list[str]
    patients: list[str]
    targets: Array
    probabilities: Array
    studies: Sequence[str] = ()


def columns(parts: Mapping[str, Predictions], space: LabelSpace, thresholds: Array) -> dict[str, Sequence[Any]]:
    """The table of these parts, by column.

    Columns without information are left out: `part` where there is one without a name, `patient` and `study` where no
    image has one, `target:` where no label is known.
    """
    images = [*parts.values()]
    ids = [name for part in images for name in part.ids]
    patients = [name for part in images for name in part.patients]
    targets = np.concatenate([part.targets for part in images])
    probabilities = np.concatenate([part.probabilities for part in images])
    decisions = space.decisions(probabilities, thresholds).astype(np.int8)
    found: dict[str, Any] = {}
    if [*parts] != [""]:
        found["part"] = [name for name, part in parts.items() for _ in part.ids]
    found["id"] = ids
    if patients != ids:
        found["patient"] = patients
    studies = [name for part in images for name in (part.studies or [""] * len(part.ids))]
    if any(studies):
        found["study"] = studies
    for kind, values in (("probability", probabilities.astype(np.float32)), ("decision", decisions)):
        found |= {f"{kind}:{name}": values[:, k] for k, name in enumerate(space.outputs)}
    if not np.isnan(targets).all():
        for k, name in enumerate(space.outputs):
            found[f"target:{name}"] = [None if np.isnan(v) else int(v) for v in targets[:, k]]
    return found


def read_predictions(
    file: Path, space: LabelSpace, thresholds: Array, say: Callable[[str], None]
) -> dict[str, Predictions]:
    """The predictions of each part in the file ("predictions" where it has no `part` column).

    Args:
        file: CSV or Parquet; targets are NaN where it has none.
        space: the labels to read.
        thresholds: (L,) of the bundle.
        say: takes warnings: rows without probabilities (images that failed), which are left out, and decisions that
            do not follow from the thresholds, which are ignored.

    Raises:
        ThoraxError: not a table, no rows, a missing column, a value that is no probability or target, an id given
            twice.
    """
    stored = read_table(file)
    table, row_name = stored.by_name(), stored.row
    wanted = [f"probability:{name}" for name in space.outputs]
    if "id" not in table:
        raise ThoraxError(f"{file} has no id column; it has {', '.join(table)}")
    missing = [name for name in wanted if name not in table]
    if missing:
        there = ", ".join(name for name in table if name.startswith("probability:")) or "no probability columns"
        raise ThoraxError(
            f"{file} has no column {missing[0]}: it has {there}, but the labels of the bundle are"
            f" {', '.join(space.outputs)}"
        )
    images = len(table["id"])
    ids = [value.strip() for value in table["id"]]
    parts = [value.strip() for value in table["part"]] if "part" in table else ["predictions"] * images
    seen: set[tuple[str, str]] = set()
    for n, (part, name) in enumerate(zip(parts, ids, strict=True)):
        if not name or (part, name) in seen:
            raise ThoraxError(f"{row_name(n)}: " + (f"id {name} is there a second time" if name else "the id is blank"))
        seen.add((part, name))
    p = np.stack([_probabilities(column, table[column], row_name) for column in wanted], axis=1)
    blank = [""] * images
    targets = [f"target:{name}" for name in space.outputs]
    y = np.stack([_targets(column, table.get(column, blank), row_name) for column in targets], axis=1)
    kept = ~np.isnan(p).any(axis=1)
    if not kept.all():
        say(f"warning: {file}: {int((~kept).sum())} of {images} images have no probabilities and are left out")
    if not kept.any():
        raise ThoraxError(f"{file} has no image with probabilities")
    _compare_decisions(file, table, space, p, thresholds, kept, say)
    patients = [value.strip() or i for value, i in zip(table.get("patient", ids), ids, strict=True)]
    studies = [value.strip() for value in table.get("study", blank)]
    result = {}
    for part in dict.fromkeys(parts):
        at = [n for n in range(images) if kept[n] and parts[n] == part]
        if at:
            result[part] = Predictions(
                [ids[n] for n in at], [patients[n] for n in at], y[at], p[at], [studies[n] for n in at]
            )
    return result


def _probabilities(column: str, values: Sequence[str], row_name: Callable[[int], str]) -> Array:
    result = np.full(len(values), np.nan, np.float32)
    for n, value in enumerate(values):
        if not (text := value.strip()):
            continue
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        if not 0 <= number <= 1:
            raise ThoraxError(f"{row_name(n)}: {column}={text} is not a number in 0..1")
        result[n] = number
    return result


def _targets(column: str, values: Sequence[str], row_name: Callable[[int], str]) -> Array:
    result = np.full(len(values), np.nan)
    for n, value in enumerate(values):
        text = value.strip()
        if text not in _TARGETS and text != "nan":
            raise ThoraxError(f"{row_name(n)}: {column}={text} is not 1, 0 or blank")
        result[n] = _TARGETS.get(text, np.nan)
    return result


def _compare_decisions(
    file: Path,
    table: Mapping[str, Sequence[str]],
    space: LabelSpace,
    p: Array,
    thresholds: Array,
    kept: Array,
    say: Callable[[str], None],
) -> None:
    decisions = space.decisions(np.nan_to_num(p), thresholds)
    for k, name in enumerate(space.outputs):
        if f"decision:{name}" not in table:
            continue
        stored = np.array([value.strip().lower() in ("1", "1.0", "true") for value in table[f"decision:{name}"]])
        others = int((stored != decisions[:, k])[kept].sum())
        if others:
            threshold = f"the bundle's threshold {thresholds[k]:.4f}"
            rule = "the most probable class" if space.task == "multiclass" else threshold
            say(
                f"warning: {file}: {others} of {int(kept.sum())} decisions on {name} are not those of {rule}; they are"
                " passed over"
            )
