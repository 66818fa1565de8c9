"""Predictions as a table: what a run writes, what batch output is, and what can be scored again.

A row per film with the columns `id`, optional `part` and `patient`, and for each label `probability:LABEL`, optional
`target:LABEL` (1, 0, blank = unknown) and `decision:LABEL` (1 or 0). CSV or Parquet.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thorax.errors import ThoraxError
from thorax.evaluation.intervals import Array
from thorax.labels import LabelSpace

_TARGETS = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": np.nan, "-1": np.nan, "-1.0": np.nan}


@dataclass(frozen=True)
class Predictions:
    """What a classifier said of N films.

    Attributes:
        ids, patients: one each per film.
        targets: (N, L) in {0, 1, NaN = unknown}.
        probabilities: (N, L) float32 in 0..1, calibrated.
    """

    ids: list[str]
    patients: list[str]
    targets: Array
    probabilities: Array


def to_csv(parts: Mapping[str, Predictions], space: LabelSpace, thresholds: Array) -> str:
    """The table; probabilities have the digits that float32 needs, so that reading gives the same scores."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["part", "id", "patient", *(f"{kind}:{name}" for kind in ("target", "probability", "decision") for name in space.outputs)])
    for part, films in parts.items():
        decisions = decided(films.probabilities, space, thresholds)
        for name, patient, y, p, d in zip(films.ids, films.patients, films.targets, films.probabilities, decisions, strict=True):
            told = [np.format_float_positional(value, trim="0") for value in p.astype(np.float32)]
            writer.writerow([part, name, patient, *("" if np.isnan(v) else int(v) for v in y), *told, *map(int, d)])
    return text.getvalue()


def decided(probabilities: Array, space: LabelSpace, thresholds: Array) -> Array:
    """(N, L) bool: what is said of each film. Exclusive classes: the most probable one; else those at or above their thresholds."""
    if space.task == "multiclass":
        return np.asarray(np.arange(probabilities.shape[1]) == probabilities.argmax(axis=1)[:, None])
    return np.asarray(probabilities.astype(np.float64) >= thresholds)


def read_predictions(file: Path, space: LabelSpace, thresholds: Array, say: Callable[[str], None]) -> dict[str, Predictions]:
    """The predictions of each part in the file ("predictions" where it has no `part` column); targets are NaN where it has none.

    Rows without probabilities (films that failed) are left out, and said; so are decisions that do not follow from the
    thresholds.

    Raises:
        ThoraxError: not a table, no rows, a missing column, a value that is no probability or target, an id given twice.
    """
    table, row_name = read_table(file)
    wanted = [f"probability:{name}" for name in space.outputs]
    if "id" not in table:
        raise ThoraxError(f"{file} has no id column; it has {', '.join(table)}")
    missing = [name for name in wanted if name not in table]
    if missing:
        there = ", ".join(name for name in table if name.startswith("probability:")) or "no probability columns"
        raise ThoraxError(f"{file} has no column {missing[0]}: it has {there}, but the labels of the bundle are {', '.join(space.outputs)}")
    films = len(table["id"])
    if not films:
        raise ThoraxError(f"{file} has no rows")
    ids = [_text(value) for value in table["id"]]
    parts = [_text(value) for value in table["part"]] if "part" in table else ["predictions"] * films
    seen: set[tuple[str, str]] = set()
    for n, name in enumerate(zip(parts, ids, strict=True)):
        if not name[1] or name in seen:
            raise ThoraxError(f"{file} {row_name(n)}: " + (f"id {name[1]} is there a second time" if name[1] else "the id is blank"))
        seen.add(name)
    p = np.stack([_probabilities(file, column, table[column], row_name) for column in wanted], axis=1)
    blank = [np.full(films, np.nan)] * len(space.outputs)
    y = np.stack([_targets(file, f"target:{o}", table[f"target:{o}"], row_name) if f"target:{o}" in table else blank[0] for o in space.outputs], axis=1)
    kept = ~np.isnan(p).any(axis=1)
    if not kept.all():
        say(f"warning: {file}: {int((~kept).sum())} of {films} films have no probabilities and are left out")
    if not kept.any():
        raise ThoraxError(f"{file} has no film with probabilities")
    _compare_decisions(file, table, space, p, thresholds, kept, say)
    patients = [_text(value) or i for value, i in zip(table["patient"], ids, strict=True)] if "patient" in table else ids
    result = {}
    for part in dict.fromkeys(parts):
        at = [n for n in range(films) if kept[n] and parts[n] == part]
        if at:
            result[part] = Predictions([ids[n] for n in at], [patients[n] for n in at], y[at], p[at])
    return result


def read_table(file: Path) -> tuple[dict[str, list[Any]], Callable[[int], str]]:
    """Columns of a CSV (texts) or a Parquet file by name, and what a row is called in errors.

    Raises:
        ThoraxError: no such file, not a table, rows of different lengths, or pyarrow is missing.
    """
    if not file.is_file():
        raise ThoraxError(f"{file} is not a file")
    if file.suffix.lower() == ".parquet":
        return _parquet(file), lambda n: f"row {n + 1}"
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            numbered = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ThoraxError(f"{file} is not a CSV in UTF-8: {error}; a table is a .csv or .parquet file") from None
    if not numbered:
        raise ThoraxError(f"{file} is empty")
    header = [name.strip() for name in numbered[0][1]]
    for line, row in numbered[1:]:
        if len(row) != len(header):
            raise ThoraxError(f"{file} line {line} has {len(row)} values, the header has {len(header)}")
    lines = [line for line, _ in numbered[1:]]
    return {name: [row[k] for _, row in numbered[1:]] for k, name in enumerate(header)}, lambda n: f"line {lines[n]}"


def _parquet(file: Path) -> dict[str, list[Any]]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ThoraxError(f"{file}: Parquet needs pyarrow; install it (pip install pyarrow) or give a CSV") from None
    try:
        columns: dict[str, list[Any]] = pyarrow.parquet.read_table(file).to_pydict()
    except (OSError, pyarrow.ArrowException) as error:
        raise ThoraxError(f"{file} is not a Parquet file: {str(error).splitlines()[0]}") from None
    return columns


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _probabilities(file: Path, column: str, values: Sequence[Any], row_name: Callable[[int], str]) -> Array:
    result = np.full(len(values), np.nan, np.float32)
    for n, value in enumerate(values):
        if not (text := _text(value)):
            continue
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        if not 0 <= number <= 1:
            raise ThoraxError(f"{file} {row_name(n)}: {column}={text} is not a number in 0..1")
        result[n] = number
    return result


def _targets(file: Path, column: str, values: Sequence[Any], row_name: Callable[[int], str]) -> Array:
    result = np.full(len(values), np.nan)
    for n, value in enumerate(values):
        text = _text(value)
        if text not in _TARGETS and text != "nan":
            raise ThoraxError(f"{file} {row_name(n)}: {column}={text} is not 1, 0 or blank")
        result[n] = _TARGETS.get(text, np.nan)
    return result


def _compare_decisions(
    file: Path, table: Mapping[str, Sequence[Any]], space: LabelSpace, p: Array, thresholds: Array, kept: Array, say: Callable[[str], None]
) -> None:
    decisions = decided(np.nan_to_num(p), space, thresholds)
    for k, name in enumerate(space.outputs):
        if f"decision:{name}" not in table:
            continue
        stored = np.array([_text(value).lower() in ("1", "1.0", "true") for value in table[f"decision:{name}"]])
        others = int((stored != decisions[:, k])[kept].sum())
        if others:
            rule = "the most probable class" if space.task == "multiclass" else f"the bundle's threshold {thresholds[k]:.4f}"
            say(f"warning: {file}: {others} of {int(kept.sum())} decisions on {name} are not those of {rule}; they are passed over")
