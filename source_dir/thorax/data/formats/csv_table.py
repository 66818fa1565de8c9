"""One CSV in the channel: a row per film with `path`, `labels` (A|B) or a column per label, and optionally `patient`.

Label columns hold 1, 0, or blank or -1 for unknown, which is masked in loss and scores. In a `labels` column an empty
text or "No Finding" means none of them; a label with a question mark (`Edema?`) is unknown for that film.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from thorax.data.patients import patient_of
from thorax.data.samples import Listing
from thorax.errors import ThoraxError
from thorax.labels import NEGATIVE_NAMES

NAME = "csv"
PATH_COLUMNS = ("path", "file", "image", "filename")
PATIENT_COLUMNS = ("patient", "patient_id")
LABELS_COLUMNS = ("labels", "label")
#: Columns of known tables that are neither labels nor needed.
OTHER_COLUMNS = frozenset({"age", "sex", "view", "split", "official_split", "finding_labels", "source", "id"})
_VALUES = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": np.nan, "-1": np.nan, "-1.0": np.nan}


def finds(folder: Path) -> str:
    tables = sorted(p.name for p in folder.glob("*.csv"))
    return f"a table ({', '.join(tables)})" if tables else ""


def read(folder: Path) -> Listing:
    """Films of the table, in its order; paths are relative to the table's folder (or its sub-folder images/).

    Raises:
        ThoraxError: several tables, no path or label column, a row of another length, a value that is no label, a
            film that is listed twice or does not exist.
    """
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        raise ThoraxError(f"{folder} holds {len(tables)} tables ({', '.join(t.name for t in tables)}); leave one")
    table = tables[0]
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            numbered = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ThoraxError(f"{table} is not a CSV in UTF-8: {error}") from None
    if len(numbered) < 2:
        raise ThoraxError(f"{table} has no rows below its header")
    header = [name.strip() for name in numbered[0][1]]
    lines, body = [number for number, _ in numbered[1:]], [row for _, row in numbered[1:]]
    for number, row in zip(lines, body, strict=True):
        if len(row) != len(header):
            raise ThoraxError(f"{table} line {number} has {len(row)} values, the header has {len(header)}")
    column = {name.lower(): k for k, name in enumerate(header)}
    at = next((column[name] for name in PATH_COLUMNS if name in column), None)
    if at is None:
        raise ThoraxError(f"{table} has no path column (one of {', '.join(PATH_COLUMNS)}); it has {', '.join(header)}")
    ids = [row[at].strip() for row in body]
    names, targets, exclusive = _labels(table, header, body, column, lines)
    who = next((column[name] for name in PATIENT_COLUMNS if name in column), None)
    patients = [patient_of(i) for i in ids] if who is None else [row[who].strip() or patient_of(i) for row, i in zip(body, ids, strict=True)]
    return Listing(names, ids, _paths(table, ids, lines), targets, patients, exclusive)


def _labels(table: Path, header: list[str], body: list[list[str]], column: dict[str, int], lines: list[int]) -> tuple[tuple[str, ...], np.ndarray, bool]:
    joined = next((column[name] for name in LABELS_COLUMNS if name in column), None)
    if joined is not None:
        return _joined(body, joined)
    reserved = {*PATH_COLUMNS, *PATIENT_COLUMNS, *OTHER_COLUMNS}
    wide = [k for k, name in enumerate(header) if name.lower() not in reserved]
    if not wide:
        raise ThoraxError(f"{table} has no labels column and no column per label; it has {', '.join(header)}")
    targets = np.zeros((len(body), len(wide)), np.float32)
    for n, row in enumerate(body):
        for j, k in enumerate(wide):
            value = _VALUES.get(row[k].strip())
            if value is None:
                raise ThoraxError(f"{table} line {lines[n]}: {header[k]}={row[k]!r} is not a label value; write 1, 0, or blank for unknown")
            targets[n, j] = value
    return tuple(header[k] for k in wide), targets, False


def _joined(body: list[list[str]], at: int) -> tuple[tuple[str, ...], np.ndarray, bool]:
    each = [[part.strip() for part in row[at].split("|") if part.strip()] for row in body]
    exclusive = all(len(parts) == 1 and not parts[0].endswith("?") for parts in each)
    if exclusive and any(parts[0].lower() == "no finding" for parts in each):
        exclusive = len({parts[0] for parts in each}) <= 2
    names = tuple(sorted({part.removesuffix("?") for parts in each for part in parts if exclusive or part.lower() not in NEGATIVE_NAMES}))
    index = {name: k for k, name in enumerate(names)}
    targets = np.zeros((len(body), len(names)), np.float32)
    for n, parts in enumerate(each):
        for part in parts:
            if (k := index.get(part.removesuffix("?"))) is not None:
                targets[n, k] = np.nan if part.endswith("?") else 1.0
    return names, targets, exclusive


def _paths(table: Path, ids: list[str], lines: list[int]) -> list[Path]:
    seen: set[str] = set()
    paths = []
    for number, name in zip(lines, ids, strict=True):
        if not name:
            raise ThoraxError(f"{table} line {number} has no path")
        if name in seen:
            raise ThoraxError(f"{table} line {number} lists {name} a second time")
        seen.add(name)
        path = table.parent / name
        if not path.exists():
            path = table.parent / "images" / name
        if not path.exists():
            raise ThoraxError(f"{table} line {number}: {name} does not exist in {table.parent} or its folder images")
        paths.append(path)
    return paths
