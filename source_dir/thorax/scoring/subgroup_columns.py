"""The columns by which subgroups are made: from the table of the images, or from one of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from thorax.errors import ThoraxError
from thorax.tables import read_table

#: Columns that name an image in a table of subgroups.
ID_COLUMNS = ("id", "path", "file", "image", "filename")


def table_of(data: Path | None) -> Path:
    """The table of the images: `data` itself, or the one CSV in that folder.

    Raises:
        ThoraxError: there is none, or several.
    """
    if data is not None and data.is_file():
        return data
    tables = sorted(data.glob("*.csv")) if data is not None else []
    if len(tables) != 1:
        raise ThoraxError("--by: --data is no table; give the table with these columns by --subgroups TABLE")
    return tables[0]


def columns_of(ids: Sequence[str], by: Sequence[str], file: Path) -> dict[str, list[str]]:
    """{column: value of each image}, from a table with id or path.

    Raises:
        ThoraxError: a missing column, or an image that is not in the table.
    """
    table = read_table(file).by_name()
    found = {name.lower(): name for name in table}
    key = next((found[name] for name in ID_COLUMNS if name in found and set(ids) & set(table[found[name]])), None)
    if key is None:
        raise ThoraxError(
            f"{file} has no column ({', '.join(ID_COLUMNS)}) with the ids of these images, such as {ids[0]}; it has"
            f" {', '.join(table)}"
        )
    missing = [name for name in by if name.lower() not in found]
    if missing:
        raise ThoraxError(f"--by {missing[0]}: {file} has no such column; it has {', '.join(table)}")
    place = {name.strip(): k for k, name in enumerate(table[key])}
    lost = [name for name in ids if name not in place]
    if lost:
        raise ThoraxError(f"{len(lost)} of {len(ids)} images are not in {file}; the first is {lost[0]}")
    values = {name: table[found[name.lower()]] for name in by}
    return {name: [column[place[i]] for i in ids] for name, column in values.items()}
