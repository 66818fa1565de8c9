"""The files behind the findings of a check: the first few on the screen, all of them in a table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thorax.dataset.inventory import WHOLE
from thorax.tables import check_table, write_table
from thorax.text import counted

#: Groups of files that are printed of a finding, and files of a group.
SHOWN, TOGETHER = 3, 4


def files_behind(finding: Mapping[str, Any], full: bool = False) -> list[str]:
    """Lines that name the files of a finding, as CheckReport.to_dict has it; those that belong together in one.

    Args:
        full: all of them; else the first few, as far as the message does not name them, and how many more there are.
    """
    groups = [[place(image) for image in group] for group in finding["images"]]
    if full:
        return [f"  {' = '.join(group)}" for group in groups]
    lines = [" = ".join([*group[:TOGETHER], *(["..."] if len(group) > TOGETHER else [])]) for group in groups[:SHOWN]]
    if all(name in finding["message"] for group in groups[:SHOWN] for name in group[:TOGETHER]):
        lines = []
    more = len(groups) - SHOWN
    rest = [f"and {more:,} more: --full, or --files FILE"] if more > 0 else []
    return [f"  {line}" for line in (*lines, *rest)]


def place(image: Mapping[str, str]) -> str:
    """An image's name with its part."""
    part, name = image["part"], image["id"]
    return name if part == WHOLE or name.startswith(f"{part}/") else f"{part}: {name}"


def check_files_table(args: argparse.Namespace) -> None:
    """Raises ThoraxError for a --files that could not be written."""
    if args.files:
        check_table(args.files, "--files")


def write_files(report: Mapping[str, Any], file: Path | None) -> None:
    """Writes a row for each file of each finding: finding (its number from 1), level, check, group, part, id, patient,
    labels, message. A finding of no file, such as a class without images, has one row without a name."""
    if file is None:
        return
    rows = [
        (n, finding["level"], finding["check"], group, *(image[key] for key in _KEYS), finding["message"])
        for n, finding in enumerate(report["findings"], 1)
        for group, images in enumerate(finding["images"] or [[dict.fromkeys(_KEYS, "")]], 1)
        for image in images
    ]
    names = ("finding", "level", "check", "group", *_KEYS, "message")
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    write_table(dict(zip(names, map(list, columns), strict=True)), file, f"list of {counted(len(rows), 'file')}")


_KEYS = ("part", "id", "patient", "labels")
