"""The history of a run: a row per epoch, as a CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from thorax.files import write_whole
from thorax.tracking.metric_log import number


def write_history(rows: Sequence[Mapping[str, float]], file: Path) -> None:
    """Writes `history.csv`: a column per value, fixed-point numbers, whole or not at all."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(key)) for key in columns])
    write_whole(text.getvalue().encode(), file, "history")


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else number(value, 8)
