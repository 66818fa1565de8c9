"""Judges the records of a run, running or finished: our worker_0.jsonl, or the folder that smdebug wrote.

PYTHONPATH=source_dir python -m thorax.tracking.health runs/NAME/output/data/debugger/worker_0.jsonl [history.csv]
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from thorax.errors import ThoraxError
from thorax.text import counted
from thorax.tracking.health.records import read
from thorax.tracking.health.rules import judge
from thorax.tracking.health.smdebug_hook import read_trial


def main(arguments: list[str]) -> int:
    """Exit code 0: no finding; 1: findings, a line each; 2: a mistake."""
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    place = Path(arguments[0])
    try:
        shapes, records = read_trial(place) if place.is_dir() else read(place)
        history = _history(Path(arguments[1])) if len(arguments) > 1 else []
    except ThoraxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    findings = judge(shapes, records, history)
    for finding in findings:
        print(f"finding: {finding['rule']} at step {finding['step']}: {finding['message']}")
    print(f"{counted(len(records), 'saved step')}, {counted(len(findings), 'finding') if findings else 'no findings'}")
    return 1 if findings else 0


def _history(file: Path) -> list[dict[str, float]]:
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return [{key: float(text) for key, text in row.items() if text} for row in csv.DictReader(lines)]
    except (OSError, ValueError) as error:
        raise ThoraxError(f"{file} is not a history.csv: {error}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
