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


def training_summary(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What a run took, from the rows of its history, as far as they know it.

    Returns:
        "epochs"; "seconds" of all of them, validation included; "seconds_per_image" of training, the mean of the
        epochs'; "cost" in dollars. Left out: what any row does not know (a run that an earlier version began).
    """
    found: dict[str, float] = {"epochs": len(rows)}
    for name, key in {"seconds": "epoch_seconds", "cost": "epoch_cost"}.items():
        if rows and all(row.get(key) is not None for row in rows):
            found[name] = sum(row[key] for row in rows)
    rates = [row.get("images_per_second") or 0.0 for row in rows]
    if rates and min(rates) > 0:
        found["seconds_per_image"] = sum(1 / rate for rate in rates) / len(rates)
    return found


def read_history(file: Path) -> list[dict[str, float]]:
    """The rows of a history.csv, without blank cells; [] where there is none that can be read."""
    try:
        with file.open(newline="", encoding="utf-8") as text:
            return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(text)]
    except (OSError, ValueError, TypeError, AttributeError):
        return []


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else number(value, 8)
