"""One CSV or Parquet: a row per image with `path`, `labels` (A|B) or a column per label, `patient` and `split`.

Label columns hold 1, 0, or blank or -1 for unknown, which is masked in loss and scores. In a `labels` column an empty
text or "No Finding" means none of them; a label with a question mark (`Edema?`) is unknown for that image.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from thorax.data.columns import FileColumn
from thorax.data.formats.channel import Channel, part_of
from thorax.data.formats.label_values import Labels, from_columns, from_texts
from thorax.data.formats.nih import Nih
from thorax.data.formats.registry import IMAGES, DataFormat
from thorax.data.patients import fill_patients
from thorax.data.samples import Listing
from thorax.errors import ThoraxError
from thorax.tables import Table, read_table

PATH_COLUMNS = ("path", "file", "image", "filename", "image_path", "file_path", "file_name")
PATIENT_COLUMNS = ("patient", "patient_id")
LABELS_COLUMNS = ("labels", "label")
SPLIT_COLUMNS = ("split", "official_split", "part")
#: Columns of known tables that are neither labels nor needed.
OTHER_COLUMNS = frozenset({"age", "sex", "view", "finding_labels", "source", "id"})


class LabelTable(DataFormat):
    """A row per image."""

    name = "table"
    help = "one CSV or Parquet with path, labels (or a column per label), patient and split"
    what = "a table"
    endings: ClassVar = {".csv": "text/csv", ".csv.gz": "text/csv", ".parquet": IMAGES}

    def files(self, channel: Channel) -> list[str]:
        """Names of the tables, without NIH's own."""
        nihs = Nih().files(channel)
        return [name for name in channel.ending(*self.endings) if not nihs or name.lower().endswith(".parquet")]

    def read(self, channel: Channel) -> Listing:
        """Images of the table, in its order; paths are relative to the table's folder (or its sub-folder images/).

        Raises:
            ThoraxError: several tables, no path or label column, a row of another length, a value that is no label or
                part, an image that is listed twice or does not exist.
        """
        file = channel.only(self.files(channel), "tables")
        table = read_table(file)
        paths = table.one_of(PATH_COLUMNS)
        if paths is None:
            raise ThoraxError(
                f"{file} has no path column (one of {', '.join(PATH_COLUMNS[:4])}); it has {', '.join(table.header)}"
            )
        ids = [path.strip() for path in paths]
        places = channel.locate(ids, file, table.lines, below=("", "images/"))
        labels, people, split = map(table.one_of, (LABELS_COLUMNS, PATIENT_COLUMNS, SPLIT_COLUMNS))
        names, targets, exclusive = from_texts(labels) if labels is not None else _wide(table)
        images = channel.paths(places)
        given = [person.strip() for person in people] if people is not None else [""] * len(ids)
        patients, unnamed = fill_patients(given, ids, images), np.nan if labels is None else 0.0
        parts = None
        if split is not None:
            rows = zip(split, table.lines, strict=True)
            parts = [part_of(word, f"{file} line {line}: the split") for word, line in rows]
        return Listing(names, ids, FileColumn(images), targets, patients, exclusive, parts, unnamed=unnamed)


def _wide(table: Table) -> Labels:
    """Of a column per label: every column that has no other meaning."""
    reserved = {*PATH_COLUMNS, *PATIENT_COLUMNS, *SPLIT_COLUMNS, *OTHER_COLUMNS}
    wide = [k for k, name in enumerate(table.header) if name.lower() not in reserved]
    if not wide:
        raise ThoraxError(
            f"{table.file} has no labels column and no column per label; it has {', '.join(table.header)}"
        )
    names = tuple(table.header[k] for k in wide)
    targets = from_columns(names, [table.columns[k] for k in wide], str(table.file), table.lines)
    return Labels(names, targets, False)
