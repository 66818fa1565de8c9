"""One CSV or Parquet in the channel: a row per image with `path`, `labels` (A|B) or a column per label, `patient`,
`split`.

Label columns hold 1, 0, or blank or -1 for unknown, which is masked in loss and scores. In a `labels` column an empty
text or "No Finding" means none of them; a label with a question mark (`Edema?`) is unknown for that image.
"""

from __future__ import annotations

import numpy as np

from thorax.data.columns import FileColumn
from thorax.data.formats import nih, texts
from thorax.data.formats.channel import Channel, part_of
from thorax.data.patients import patients_of
from thorax.data.samples import Listing
from thorax.errors import ThoraxError
from thorax.tables import Table, read_table

NAME = "table"
PATH_COLUMNS = ("path", "file", "image", "filename", "image_path", "file_path", "file_name")
PATIENT_COLUMNS = ("patient", "patient_id")
LABELS_COLUMNS = ("labels", "label")
SPLIT_COLUMNS = ("split", "official_split", "part")
#: Columns of known tables that are neither labels nor needed.
OTHER_COLUMNS = frozenset({"age", "sex", "view", "finding_labels", "source", "id"})


def finds(channel: Channel) -> str:
    tables = _tables(channel)
    return f"a table ({', '.join(tables)})" if tables else ""


def _tables(channel: Channel) -> list[str]:
    if nih.finds(channel):
        return channel.ending(".parquet")
    return channel.ending(".csv", ".csv.gz", ".parquet")


def read(channel: Channel) -> Listing:
    """Images of the table, in its order; paths are relative to the table's folder (or its sub-folder images/).

    Raises:
        ThoraxError: several tables, no path or label column, a row of another length, a value that is no label or part,
            an image that is listed twice or does not exist.
    """
    tables = _tables(channel)
    if len(tables) != 1:
        raise ThoraxError(f"{channel.folder} holds {len(tables)} tables ({', '.join(tables)}); leave one")
    file = channel.folder / tables[0]
    table = read_table(file)
    paths = table.one_of(PATH_COLUMNS)
    if paths is None:
        raise ThoraxError(
            f"{file} has no path column (one of {', '.join(PATH_COLUMNS[:4])}); it has {', '.join(table.header)}"
        )
    ids = [path.strip() for path in paths]
    places = channel.locate(ids, file, table.lines, below=("", "images/"))
    labels, who, split = table.one_of(LABELS_COLUMNS), table.one_of(PATIENT_COLUMNS), table.one_of(SPLIT_COLUMNS)
    names, targets, exclusive = texts.joined(labels) if labels is not None else (*_wide(table), False)
    images = channel.paths(places)
    patients = [person.strip() for person in who] if who is not None else [""] * len(ids)
    if "" in patients:
        patients = [person or told for person, told in zip(patients, patients_of(ids, images), strict=True)]
    parts = (
        None
        if split is None
        else [part_of(word, f"{file} line {line}: the split") for word, line in zip(split, table.lines, strict=True)]
    )
    return Listing(
        names, ids, FileColumn(images), targets, patients, exclusive, parts, unnamed=np.nan if labels is None else 0.0
    )


def _wide(table: Table) -> tuple[tuple[str, ...], np.ndarray]:
    reserved = {*PATH_COLUMNS, *PATIENT_COLUMNS, *SPLIT_COLUMNS, *OTHER_COLUMNS}
    wide = [k for k, name in enumerate(table.header) if name.lower() not in reserved]
    if not wide:
        raise ThoraxError(
            f"{table.file} has no labels column and no column per label; it has {', '.join(table.header)}"
        )
    names = tuple(table.header[k] for k in wide)
    return names, texts.columns(names, [table.columns[k] for k in wide], str(table.file), table.lines)
