"""A table of predictions of any model: ids, and probabilities or answers, and the truth where it has it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thorax.errors import ThoraxError
from thorax.evaluation.arrays import Array
from thorax.labels import LabelSpace, decide
from thorax.scoring.compared.saved import SavedPredictions, exclusive_space, narrowed, nothing_found, space_of
from thorax.scoring.compared.table_columns import Columns, columns_of
from thorax.tables import Table, read_table
from thorax.text import are, counted

_UNKNOWN = ("", "nan", "na", "none", "null", "-1", "-1.0")
_NONE_HELD = ("", "nan", "na", "null")


@dataclass(frozen=True)
class ReadAs:
    """What a user says of tables and files that do not say it themselves.

    Attributes:
        labels: names of numbered labels or of columns without names, in order; of two classes the second is positive.
        columns: role (id, patient, part, truth, predicted, probability) or label -> column.
        space: labels and task, where the run itself tells them.
        part: of tables with a column of parts, the one that counts; "": test, where there is one.
    """

    labels: tuple[str, ...] = ()
    columns: Mapping[str, str] | None = None
    part: str = ""
    space: LabelSpace | None = None


@dataclass(frozen=True)
class _Rows:
    """The rows of a table that count."""

    file: Path
    table: Table
    columns: Columns
    kept: list[int]

    def texts(self, column: str) -> list[str]:
        values = self.table.by_name()[column]
        return [values[k].strip() for k in self.kept]

    def numbers(self, column: str, what: str, low: float = 0.0, high: float = 1.0) -> Array:
        """(N,) numbers, NaN for blank cells.

        Raises:
            ThoraxError: a cell that is no number from low to high.
        """
        result = np.full(len(self.kept), np.nan)
        for n, text in enumerate(self.texts(column)):
            if text.casefold() in _NONE_HELD:
                continue
            number = _number(text)
            if number is None or not low <= number <= high:
                raise ThoraxError(
                    f"{self.table.row(self.kept[n])}: {column}={text} is not {what}"
                    + ("; logits or percentages must be made probabilities first" if high == 1 else "")
                )
            result[n] = number
        return result

    def truth(self, column: str) -> Array:
        """(N,) in {0, 1, NaN}."""
        result = np.full(len(self.kept), np.nan)
        for n, text in enumerate(self.texts(column)):
            plain = text.casefold()
            if plain in ("1", "1.0", "true", "yes"):
                result[n] = 1
            elif plain in ("0", "0.0", "false", "no"):
                result[n] = 0
            elif plain not in _UNKNOWN:
                raise ThoraxError(f"{self.table.row(self.kept[n])}: {column}={text} is not 1, 0 or blank")
        return result


def read_any_table(file: Path, how: ReadAs) -> SavedPredictions:
    """The predictions in a CSV, .csv.gz or Parquet file.

    Taken are: a column with the images' names; for each label a column of probabilities (probability:Mass, prob_Mass,
    Mass_score, or plainly Mass where the truth has that name), and perhaps of truth (target:Mass, Mass_true) and
    decisions; or one column of probabilities of the positive class; or one of the predicted class's name. The truth may
    be one column of names (several with | between) or numbers.

    Raises:
        ThoraxError: no column of names or of predictions, an image twice, a cell that is none of what its column holds.
    """
    table = read_table(file)
    columns = columns_of(file, [name for name in table.header if name], how.columns or {})
    notes = list(table.notes)
    rows = _Rows(file, table, columns, _part(table, columns, how, notes))
    if "id" not in columns.roles:
        there = ", ".join(name or "(no name)" for name in table.header)
        raise ThoraxError(
            f"{file} has no column with the names of its images; it has {there}; --columns id=COLUMN says which it is"
        )
    ids = rows.texts(columns.roles["id"])
    _check_ids(rows, ids)
    found = _predictions(rows, ids, how, notes)
    if (column := columns.roles.get("patient")) is not None:
        patients = [text or name for text, name in zip(rows.texts(column), ids, strict=True)]
    else:
        patients = []
    missing = np.isnan(found.probabilities).any(axis=1)
    if missing.any():
        n = int(missing.sum())
        notes.append(f"{counted(n, 'image')} {are(n)} without predictions and left out")
        if missing.all():
            raise ThoraxError(f"{file} has no image with predictions")
    whole = SavedPredictions(
        ids, found.space, found.probabilities, found.decisions, found.targets, patients, found.ranked, notes
    )
    return whole.take(np.flatnonzero(~missing).tolist()) if missing.any() else whole


def read_truth(file: Path, how: ReadAs) -> tuple[list[str], list[str], dict[str, Array]]:
    """(ids, patients or [], label -> (N,) truth in {0, 1, NaN}) of a table of labels, or of a .lst of the built-in
    algorithm.

    Raises:
        ThoraxError: as `read_any_table`, or numbered labels whose names the user does not give.
    """
    if file.suffix.lower() == ".lst":
        ids, numbers = _read_lst(file)
        names = _named(file, numbers, how.labels)
        return ids, [], names
    table = read_table(file)
    columns = columns_of(file, [name for name in table.header if name], how.columns or {})
    rows = _Rows(file, table, columns, list(range(len(table.lines))))
    if "id" not in columns.roles:
        raise ThoraxError(f"{file} has no column with the names of its images: --columns id=COLUMN says which it is")
    ids = rows.texts(columns.roles["id"])
    _check_ids(rows, ids)
    patients = rows.texts(columns.roles["patient"]) if "patient" in columns.roles else []
    by_label = {label: rows.truth(column) for label, column in columns.truth.items()}
    if not by_label and "truth" in columns.roles:
        held = [_names(text) for text in rows.texts(columns.roles["truth"])]
        by_label = _from_names(file, held, _classes(held, how.labels))
    for column in columns.rest:  # one column a label, named by it
        held_here = set(map(str.casefold, rows.texts(column)))
        if (
            column not in by_label
            and held_here & {"1", "1.0"}
            and held_here <= {"0", "1", "0.0", "1.0", "-1", "-1.0", ""}
        ):
            by_label[column] = rows.truth(column)
    if not by_label:
        raise ThoraxError(f"{file} has no labels: --columns truth=COLUMN says where they are")
    return ids, patients, by_label


# -- What a table holds ------------------------------------------------------------------------------------------------


def _part(table: Table, columns: Columns, how: ReadAs, notes: list[str]) -> list[int]:
    """The rows of the part that counts: all, where there are no parts."""
    every = list(range(len(table.lines)))
    if (column := columns.roles.get("part")) is None:
        return every
    marks = [mark.strip() for mark in table.by_name()[column]]
    parts = list(dict.fromkeys(marks))
    chosen = how.part or ("test" if "test" in parts else parts[-1])
    if chosen not in parts:
        raise ThoraxError(f"{table.file} has no part {chosen}; it has {', '.join(parts)}")
    if len(parts) > 1:
        others = ", ".join(f"{part} {marks.count(part):,}" for part in parts if part != chosen)
        notes.append(f"its part {chosen} is taken, not {others}")
    return [k for k in every if marks[k] == chosen]


def _check_ids(rows: _Rows, ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for n, name in enumerate(ids):
        if not name or name in seen:
            what = f"image {name} is there a second time" if name else "the name of the image is blank"
            raise ThoraxError(f"{rows.table.row(rows.kept[n])}: {what}")
        seen.add(name)


def _predictions(rows: _Rows, ids: list[str], how: ReadAs, notes: list[str]) -> SavedPredictions:
    columns = rows.columns
    held = [_names(text) for text in rows.texts(columns.roles["truth"])] if "truth" in columns.roles else []
    _plain_columns(rows, held, how, notes)
    if columns.probability:
        return _of_labels(rows, ids, held, how, notes)
    if (column := columns.roles.get("probability") or _numeric_prediction(rows)) is not None:
        return _of_positive(rows, ids, held, how, column, notes)
    if "predicted" in columns.roles:
        return _of_answers(rows, ids, held, how, notes)
    raise ThoraxError(
        f"{rows.file} has no column of predictions; it has {', '.join(rows.table.header)}. Name probabilities"
        " probability:LABEL, or say which they are: --columns LABEL=COLUMN, or --columns predicted=COLUMN for answers"
    )


def _plain_columns(rows: _Rows, held: Sequence[tuple[str, ...]], how: ReadAs, notes: list[str]) -> None:
    """Sorts columns that are named by a label alone into probabilities and truth."""
    columns = rows.columns
    named, bare = {name for names in held for name in names} | {*how.labels} | {*columns.truth}, not columns.probability
    shares = {column: values for column in columns.rest if (values := _shares(rows, column))}
    for column in shares:
        if column in columns.probability and column not in columns.truth:  # Mass beside prob_Mass
            columns.truth[column] = column
        elif bare and column in named:
            columns.probability[column] = column
    unknown = not columns.probability and not {"probability", "predicted"} & {*columns.roles}
    if unknown and any(value not in (0, 1) for values in shares.values() for value in values):
        columns.probability |= {column: column for column in shares}
        notes.append(f"{', '.join(shares)} are taken for probabilities of these labels")
    used = {*columns.probability.values(), *columns.truth.values()}
    columns.rest[:] = [column for column in columns.rest if column not in used]


def _shares(rows: _Rows, column: str) -> list[float]:
    """The numbers in a column; [] where a cell is none in 0..1, or all are blank."""
    values = [_number(text) for text in rows.texts(column) if text]
    return [value for value in values if value is not None and 0 <= value <= 1] if _all_shares(values) else []


def _all_shares(values: Sequence[float | None]) -> bool:
    return all(value is not None and 0 <= value <= 1 for value in values)


def _of_labels(
    rows: _Rows, ids: list[str], held: Sequence[tuple[str, ...]], how: ReadAs, notes: list[str]
) -> SavedPredictions:
    """Of a column of probabilities for each label."""
    columns = rows.columns
    names = [*columns.probability]
    p = np.stack([rows.numbers(columns.probability[name], "a probability in 0..1") for name in names], axis=1)
    y = np.full(p.shape, np.nan)
    numbers = {name for texts in held for name in texts}
    if held and len(names) == 1 and numbers <= {"0", "1"}:
        y[:, 0] = [float(texts[0]) if texts else np.nan for texts in held]
    elif held:
        truth = _from_names(rows.file, held, _classes(held, how.labels or names))
        y = np.stack([truth.get(name, _absent(held)) for name in names], axis=1)
        if numbers and all(name.isdecimal() for name in numbers):
            order = ", ".join(f"{k} {name}" for k, name in enumerate(how.labels or names))
            notes.append(f"the numbers of {columns.roles['truth']} are taken for {order}")
    for k, name in enumerate(names):
        if name in columns.truth:
            y[:, k] = rows.truth(columns.truth[name])
    if how.space is not None and {*how.space.outputs} == {*names}:
        space = how.space
    elif len(names) == 1 and numbers - {"0", "1"}:  # two classes, of which the table has one's probability
        others = [name for name in _classes(held, how.labels) if name != names[0]]
        space = LabelSpace((others[0] if len(others) == 1 else f"no {names[0]}", names[0]), "binary")
    else:
        space = space_of(names, p, y)
    if space.task == "binary" and set(how.labels) == set(space.classes):
        space = LabelSpace(how.labels, "binary")
    p, y = (narrowed(names, values, space) for values in (p, y))
    decisions = decide(np.nan_to_num(p), 0.5, space.task)
    if all(name in columns.decision for name in space.outputs):
        stored = np.stack([rows.truth(columns.decision[name]) for name in space.outputs], axis=1)
        decisions = np.where(np.isnan(stored), decisions, stored == 1)
    return SavedPredictions(ids, space, p, decisions, y)


def _of_positive(
    rows: _Rows, ids: list[str], held: Sequence[tuple[str, ...]], how: ReadAs, column: str, notes: list[str]
) -> SavedPredictions:
    """Of one column of probabilities, which are those of the positive class."""
    classes = _classes(held, how.labels)
    numbered = set(classes) <= {"0", "1"}
    if len(how.labels) == 1 or (numbered and not how.labels):
        name = how.labels[0] if how.labels else "positive"
        space = LabelSpace((f"no {name}", name), "binary")
        if not how.labels:
            notes.append(f"{column} is taken for the positive class; --labels NEGATIVE,POSITIVE says its name")
    else:
        space = exclusive_space(how.labels or classes, ordered=bool(how.labels))
        notes.append(f"{column} is taken for the probability of {space.classes[-1]}")
    if space.task != "binary":
        raise ThoraxError(
            f"{rows.file}: {column} is one number an image, but the truth has {len(classes)} classes"
            f" ({', '.join(classes[:6])}); give a column of probabilities for each"
        )
    p = rows.numbers(column, "a probability in 0..1")[:, None]
    y = np.full(p.shape, np.nan)
    if held:
        named = [("1" in names or space.outputs[0] in names, bool(names)) for names in held]
        y[:, 0] = [float(positive) if known else np.nan for positive, known in named]
        strange = [names[0] for names in held if names and names[0] not in (*space.classes, "0", "1")]
        if strange and not nothing_found(strange[0]):
            raise ThoraxError(f"{rows.file}: the truth {strange[0]} is none of {', '.join(space.classes)}, 0 and 1")
    return SavedPredictions(ids, space, p, decide(np.nan_to_num(p), 0.5, space.task), y)


def _of_answers(
    rows: _Rows, ids: list[str], held: Sequence[tuple[str, ...]], how: ReadAs, notes: list[str]
) -> SavedPredictions:
    """Of one column with the names of what was predicted."""
    answers = [_names(text) for text in rows.texts(rows.columns.roles["predicted"])]
    classes = _classes([*held, *answers], how.labels)
    several = any(len(names) > 1 for names in (*held, *answers))
    if several:
        classes = [name for name in classes if not nothing_found(name)]
    space = LabelSpace(tuple(classes), "multilabel") if several else exclusive_space(classes, bool(how.labels))
    called, truth = (_from_names(rows.file, texts, classes) for texts in (answers, held or [()] * len(ids)))
    p = np.stack([called[name] for name in space.outputs], axis=1)
    y = np.stack([truth[name] for name in space.outputs], axis=1) if held else np.full(p.shape, np.nan)
    p = np.nan_to_num(p) if several else p  # of exclusive classes a blank is no answer
    notes.append("it has answers and no probabilities: no AUC")
    return SavedPredictions(ids, space, p, p == 1, y, ranked=False)


def _numeric_prediction(rows: _Rows) -> str | None:
    """The column that is named as a prediction and holds probabilities, not classes."""
    column = rows.columns.roles.get("predicted")
    if column is None:
        return None
    values = [_number(text) for text in rows.texts(column) if text]
    fit = values and all(value is not None and 0 <= value <= 1 for value in values)
    return column if fit and any(value not in (0, 1) for value in values) else None


# -- Names and numbers in cells ----------------------------------------------------------------------------------------


def _names(text: str) -> tuple[str, ...]:
    """The labels in a cell: "Mass|Edema", "['Mass', 'Edema']"; numbers without a decimal point."""
    inside = re.sub(r"^\[(.*)\]$", r"\1", text)
    cells = re.split(r"\s*[|;]\s*" if inside == text else r"\s*,\s*", inside)
    found = [re.sub(r"^(\d+)\.0$", r"\1", cell.strip().strip("'\"")) for cell in cells]
    return tuple(name for name in found if name.casefold() not in _NONE_HELD)


def _classes(held: Sequence[tuple[str, ...]], labels: Sequence[str]) -> list[str]:
    """The names in cells, in the user's order where there is one."""
    found = sorted({name for names in held for name in names})
    if labels and all(re.fullmatch(r"\d+", name) for name in found) and not set(found) & set(labels):
        return [*labels]
    return [*labels, *(name for name in found if name not in labels)] if labels else found


def _from_names(file: Path, held: Sequence[tuple[str, ...]], classes: Sequence[str]) -> dict[str, Array]:
    """label -> (N,) in {0, 1, NaN}: NaN where a cell is blank; numbers are places among the classes.

    Raises:
        ThoraxError: a name that is no class.
    """
    place = {name: k for k, name in enumerate(classes)}
    y = np.zeros((len(held), len(classes)))
    for n, names in enumerate(held):
        if not names:
            y[n] = np.nan
        for name in names:
            k = place.get(name, int(name) if name.isdecimal() and int(name) < len(classes) else None)
            if k is None and nothing_found(name):
                continue
            if k is None:
                raise ThoraxError(f"{file}: the label {name} is none of {', '.join(classes)}")
            y[n, k] = 1
    return {name: y[:, k] for name, k in place.items()}


def _absent(held: Sequence[tuple[str, ...]]) -> Array:
    """The truth of a label that no image has: 0 where something is known."""
    return np.array([0.0 if names else np.nan for names in held])


def _read_lst(file: Path) -> tuple[list[str], Array]:
    """(ids, (N, columns) numbers) of a .lst: index, label or labels, path, tabs between."""
    try:
        lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        ids, numbers = [line[-1].strip() for line in lines], [[float(cell) for cell in line[1:-1]] for line in lines]
        values = np.array(numbers, np.float64)
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
        raise ThoraxError(f"{file} is no .lst (index, tab, label or labels, tab, path): {error}") from None
    if values.ndim != 2 or not values.shape[1]:
        raise ThoraxError(f"{file} is no .lst: a line is index, tab, label or labels, tab, path")
    return ids, values


def _named(file: Path, numbers: Array, labels: Sequence[str]) -> dict[str, Array]:
    """label -> (N,) truth, of class indices or of a column for each label."""
    wanted = numbers.shape[1] if numbers.shape[1] > 1 else int(numbers.max()) + 1
    if not labels:
        raise ThoraxError(f"{file} has numbered labels: --labels A,B,... names them in their order, from 0")
    if numbers.shape[1] == 1:
        if wanted > len(labels):
            raise ThoraxError(f"{file} has the class {wanted - 1}, but --labels names {len(labels)}, from 0")
        return {name: (numbers[:, 0] == k).astype(float) for k, name in enumerate(labels)}
    if wanted != len(labels):
        raise ThoraxError(f"{file} has {wanted} labels an image, but --labels names {len(labels)}")
    return {name: np.where(numbers[:, k] < 0, np.nan, numbers[:, k]) for k, name in enumerate(labels)}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


#: How a file of predictions is read.
Reader = Callable[[Path, ReadAs], SavedPredictions]
