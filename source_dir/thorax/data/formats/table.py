"""One CSV or Parquet: a row per image with `path`, `labels` (A|B) or a column per label, `patient` and `split`.

Columns of other names are named by path_column, patient_column, study_column, label_columns and split_column. Label
columns hold 1, 0, -1 for uncertain, or blank for unknown. In a `labels` column an empty text or "No Finding" means none
of them; a label with a question mark (`Edema?`) is uncertain for that image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np

from thorax.data.formats.attributes import COLUMNS, attributes_of
from thorax.data.formats.channel import PARTS, Channel, part_of
from thorax.data.formats.frame import Frame
from thorax.data.formats.label_cells import from_columns, is_cell
from thorax.data.formats.label_texts import from_texts
from thorax.data.formats.labelled import LabelledRows, listing_of
from thorax.data.formats.names import BLANK, key, plain_ids, whole
from thorax.data.formats.published_sets import ALL
from thorax.data.formats.registry import IMAGES, DataFormat
from thorax.data.formats.table_labels import TableLabels
from thorax.data.formats.table_options import TableOptions
from thorax.data.patients import PATIENT_NAMES
from thorax.data.samples import Listing
from thorax.errors import ThoraxError
from thorax.text import counted

PATH_COLUMNS = ("path", "file", "image", "filename", "image_path", "file_path", "file_name")
STUDY_COLUMNS = ("study", "study_id")
LABELS_COLUMNS = ("labels", "label")
SPLIT_COLUMNS = ("split", "official_split", "part")
#: Columns of known tables that are neither labels nor needed.
OTHER_COLUMNS = ("finding_labels", "source", "id", "index")
#: Columns that mark parts or folds, and are no labels even where they hold 0 and 1.
_PARTS = "train test val valid validation holdout"
_FOLDS = "fold folds kfold set subset partition phase traintest trainvaltest dataset usage"
_PART_COLUMNS = frozenset([*_FOLDS.split(), *(prefix + part for part in _PARTS.split() for prefix in ("", "is"))])
#: Long ids that a spreadsheet has rounded.
_ROUNDED = re.compile(r"\d([.,]\d+)?E\+\d+", re.IGNORECASE)
#: The rows' numbers, as pandas writes them and names them when it reads them again.
_ROW_NUMBERS = re.compile(r"unnamed:\d+(\.\d+)?")


class LabelTable(DataFormat):
    """A row per image."""

    name = "table"
    help = "one CSV or Parquet with path, labels (or a column per label), patient and split"
    what = "a table"
    endings: ClassVar = {".csv": "text/csv", ".csv.gz": "text/csv", ".parquet": IMAGES}

    def files(self, channel: Channel) -> list[str]:
        """Names of the tables; of a published set's CSVs only where `path_column` says that they are to be read so."""
        tables = channel.ending(*self.endings)
        if channel.options.table.path_column or not any(entry.files(channel) for entry in ALL):
            return tables
        return [name for name in tables if name.lower().endswith(".parquet")]

    def read(self, channel: Channel) -> Listing:
        """Images of the table, in its order; paths are relative to the table's folder (or its sub-folder images/).

        Raises:
            ThoraxError: several tables, no path or label column, a row of another length, a value that is no label or
                part, rows of one image that differ, an image that does not exist.
        """
        options = channel.options.table
        file = channel.only(self.files(channel), "tables")
        frame = Frame.read(file)
        named = frame.get(options.path_column, *PATH_COLUMNS) or ()
        frame = frame.filtered(options.conditions)
        columns = _Columns(frame, channel)
        images = [_image(path, options) for path in columns.paths]
        rows = LabelledRows(frame, images, columns.labels())
        rows.patients = None if columns.patients is None else plain_ids(columns.patients)
        rows.studies = _studies(columns.studies, rows.patients)
        if columns.split is not None:
            rows.parts = [part_of(word, f"{frame.row(n)}: the split") for n, word in enumerate(columns.split)]
        rows.attributes = attributes_of(frame)
        rows.notes = [*frame.notes, *columns.unused(), *columns.rounded()]
        rows.ids = True
        rows.unnamed = 0.0 if columns.texts is not None else np.nan

        def locate(found: LabelledRows) -> tuple[list[str], list[str]]:
            if not channel.options.images:
                return list(found.images), []
            return channel.locate(found.images, file, found.frame.lines.tolist(), below=("", "images/")), []

        listing = listing_of(channel, rows, locate)
        more = len(named) > len(listing.ids)
        left_out = {_image(path, options) for path in named}.difference(listing.ids) if more else ()
        channel.explained.update(place for image in left_out for place in (image, f"images/{image}"))
        return listing


def _image(path: str, options: TableOptions) -> str:
    return f"{options.path_prefix}{path.strip()}{options.path_suffix}" if path.strip() else ""


class _Columns:
    """Which column of a table is what."""

    def __init__(self, frame: Frame, channel: Channel) -> None:
        options = channel.options.table
        self.frame, self.options, self.asked = frame, options, channel.options.labels
        paths = self._column(options.path_column, "path_column", PATH_COLUMNS)
        if paths is None:
            raise ThoraxError(
                f"{frame.files[0]} has no path column (one of {', '.join(PATH_COLUMNS[:4])}); it has"
                f" {', '.join(frame.columns)}; name it by path_column"
            )
        self.paths = paths
        self.patients = self._column(options.patient_column, "patient_column", PATIENT_NAMES)
        self.studies = self._column(options.study_column, "study_column", STUDY_COLUMNS)
        self.split = self._column(options.split_column, "split_column", SPLIT_COLUMNS)
        self.texts = None if options.label_columns else frame.get(*LABELS_COLUMNS)

    def _column(self, given: str, flag: str, usual: Sequence[str]) -> Sequence[str] | None:
        return self.frame.need(given, flag) if given else self.frame.get(*usual)

    def labels(self) -> TableLabels:
        """Of the columns that are named, else of the column `labels`, else of every one without other meaning."""
        frame, named = self.frame, self.options.label_columns
        if self.texts is not None:
            self._check_signs(self.texts)
            return from_texts(self.texts, self.options.blank, self.options.multi_label, frame=frame)
        wide = [(name, frame.need(name, "label_columns")) for name in named] if named else self._others()
        if not wide:
            raise ThoraxError(
                f"{frame.files[0]} has no labels column and no column per label; it has {', '.join(frame.columns)}"
            )
        if named and len(wide) == 1 and not _are_cells(wide[0][1]):
            return from_texts(wide[0][1], self.options.blank, self.options.multi_label, frame=frame)
        names = [frame.find(name) or name for name, _ in wide]
        if len(names) == len(self.asked) == 1 and key(names[0]) != key(self.asked[0]):
            names = list(self.asked)  # the only label column, under the name that the user gives it
        return from_columns(names, [column for _, column in wide], frame)

    def _check_signs(self, texts: Sequence[str]) -> None:
        """Refuses -1, 0 and 1 in the column `label`: three classes, or one label of which -1 is not sure?"""
        if {whole(text.strip()) for text in set(texts)} - BLANK == {"-1", "0", "1"}:
            name = self.frame.find(*LABELS_COLUMNS)
            raise ThoraxError(
                f"{self.frame.files[0]}: the column {name} holds -1, 0 and 1; label_columns={name} reads it as one"
                " label of which -1 is uncertain; classes need names that are no such numbers"
            )

    def _others(self) -> list[tuple[str, Sequence[str]]]:
        found = [(name, column) for name, column in self.frame.columns.items() if not self._has_meaning(name)]
        for name, column in found:
            if key(name) in _PART_COLUMNS or all(text.strip().lower() in PARTS for text in set(column)):
                raise ThoraxError(
                    f"{self.frame.files[0]}: the column {name} looks like a mark of parts, not like a label; name it by"
                    f" split_column={name} where it says train, validation or test, else name the labels by"
                    " label_columns"
                )
        return found

    def rounded(self) -> list[str]:
        """A line on patients whose ids have lost digits, so that several people may have one."""
        ids = [text for text in self.patients or () if _ROUNDED.fullmatch(text.strip())]
        if not ids:
            return []
        return [f"{counted(len(ids), 'row')} with a rounded id of the patient, such as {ids[0]}: write ids as text"]

    def _has_meaning(self, name: str) -> bool:
        return key(name) in self._meanings or _ROW_NUMBERS.fullmatch(key(name)) is not None

    @cached_property
    def _meanings(self) -> set[str]:
        """Keys of the columns that mean something else than a label."""
        options = self.options
        usual = (*PATH_COLUMNS, *PATIENT_NAMES, *STUDY_COLUMNS, *SPLIT_COLUMNS, *OTHER_COLUMNS)
        about = (name for names in COLUMNS.values() for name in names)
        given = (options.path_column, options.patient_column, options.study_column, options.split_column)
        return {key(name) for name in (*usual, *about, *given, *(name for name, _ in options.conditions))}

    def unused(self) -> list[str]:
        """A line that names the columns of which nothing was made."""
        used = {id(column) for column in (self.paths, self.patients, self.studies, self.split, self.texts)}
        labels = {key(name) for name in self.options.label_columns}
        about = {key(name) for names in COLUMNS.values() for name in names}
        about |= {key(name) for name, _ in self.options.conditions}
        every = self.texts is None and not labels
        others = [
            name
            for name, column in self.frame.columns.items()
            if id(column) not in used
            and key(name) not in labels | about
            and not (every and not self._has_meaning(name))
        ]
        return [f"columns of {self.frame.name} that are not used: {', '.join(others)}"] if others else []


def _are_cells(column: Sequence[str]) -> bool:
    """Whether the texts of an only label column are values of one label (1, 0, yes, a mask), and not names."""
    return all(is_cell(text) for text in set(column))


def _studies(studies: Sequence[str] | None, patients: Sequence[str] | None) -> list[str] | None:
    """Studies of all patients together: with the patient before each."""
    if studies is None:
        return None
    people = patients if patients is not None else [""] * len(studies)
    return [f"{p}/{s}" if p and s else s for p, s in zip(people, plain_ids(studies), strict=True)]
